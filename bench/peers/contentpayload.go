package main

//go:generate go tool msgp -tests=false -io=false -o contentpayload_gen.go
//msgp:tag msgpack

// The messages of the scenario "content", as somebody would write them who does not think of how they travel.

// Dashboard is what a page shows: 50 figures, of which few change from one message to the next.
type Dashboard struct {
	Revision       uint64  `msgpack:"revision"` // changes always
	Region         string  `msgpack:"region"`   // changes never
	OrdersCount    int64   `msgpack:"orders_count"`
	OrdersRate     float64 `msgpack:"orders_rate"`
	OrdersState    string  `msgpack:"orders_state"`
	PaymentsCount  int64   `msgpack:"payments_count"`
	PaymentsRate   float64 `msgpack:"payments_rate"`
	PaymentsState  string  `msgpack:"payments_state"`
	RefundsCount   int64   `msgpack:"refunds_count"`
	RefundsRate    float64 `msgpack:"refunds_rate"`
	RefundsState   string  `msgpack:"refunds_state"`
	CartsCount     int64   `msgpack:"carts_count"`
	CartsRate      float64 `msgpack:"carts_rate"`
	CartsState     string  `msgpack:"carts_state"`
	SearchesCount  int64   `msgpack:"searches_count"`
	SearchesRate   float64 `msgpack:"searches_rate"`
	SearchesState  string  `msgpack:"searches_state"`
	LoginsCount    int64   `msgpack:"logins_count"`
	LoginsRate     float64 `msgpack:"logins_rate"`
	LoginsState    string  `msgpack:"logins_state"`
	SignupsCount   int64   `msgpack:"signups_count"`
	SignupsRate    float64 `msgpack:"signups_rate"`
	SignupsState   string  `msgpack:"signups_state"`
	EmailsCount    int64   `msgpack:"emails_count"`
	EmailsRate     float64 `msgpack:"emails_rate"`
	EmailsState    string  `msgpack:"emails_state"`
	UploadsCount   int64   `msgpack:"uploads_count"`
	UploadsRate    float64 `msgpack:"uploads_rate"`
	UploadsState   string  `msgpack:"uploads_state"`
	DownloadsCount int64   `msgpack:"downloads_count"`
	DownloadsRate  float64 `msgpack:"downloads_rate"`
	DownloadsState string  `msgpack:"downloads_state"`
	QueuesCount    int64   `msgpack:"queues_count"`
	QueuesRate     float64 `msgpack:"queues_rate"`
	QueuesState    string  `msgpack:"queues_state"`
	WorkersCount   int64   `msgpack:"workers_count"`
	WorkersRate    float64 `msgpack:"workers_rate"`
	WorkersState   string  `msgpack:"workers_state"`
	CachesCount    int64   `msgpack:"caches_count"`
	CachesRate     float64 `msgpack:"caches_rate"`
	CachesState    string  `msgpack:"caches_state"`
	ReplicasCount  int64   `msgpack:"replicas_count"`
	ReplicasRate   float64 `msgpack:"replicas_rate"`
	ReplicasState  string  `msgpack:"replicas_state"`
	BackupsCount   int64   `msgpack:"backups_count"`
	BackupsRate    float64 `msgpack:"backups_rate"`
	BackupsState   string  `msgpack:"backups_state"`
	SensorsCount   int64   `msgpack:"sensors_count"`
	SensorsRate    float64 `msgpack:"sensors_rate"`
	SensorsState   string  `msgpack:"sensors_state"`
}

// SensorBatch is what a device has measured since its last message.
type SensorBatch struct {
	ID          uint64    `msgpack:"id"`
	Device      string    `msgpack:"device"`
	Alarms      []Reading `msgpack:"alarms"`
	Times       []int64   `msgpack:"times"`       // nanoseconds, about a second apart
	Temperature []float64 `msgpack:"temperature"` // steps of 0.01, slow
	Voltage     []float64 `msgpack:"voltage"`     // steps of 0.001, noisy
	Vibration   []float64 `msgpack:"vibration"`   // noise in all bits
}

// Reading is a single value of a [SensorBatch].
type Reading struct {
	TimeMillis int64   `msgpack:"time_ms"`
	Value      float64 `msgpack:"value"`
	Channel    uint8   `msgpack:"channel"`
	Valid      bool    `msgpack:"valid"`
}

// ConfigPush gives a node its configuration. Only the configuration is ever the same.
type ConfigPush struct {
	ID       uint64        `msgpack:"id"`
	AtMicros int64         `msgpack:"at_micros"`
	Trace    string        `msgpack:"trace"`
	Node     string        `msgpack:"node"`
	Service  ServiceConfig `msgpack:"service"`
}

// ServiceConfig is one of a few configurations.
type ServiceConfig struct {
	Name    string         `msgpack:"name"`
	Version uint32         `msgpack:"version"`
	Options []ConfigOption `msgpack:"options"`
}

// ConfigOption is an entry of a [ServiceConfig].
type ConfigOption struct {
	Key   string `msgpack:"key"`
	Value string `msgpack:"value"`
}

// LogBatch is some lines of text.
type LogBatch struct {
	ID     uint64 `msgpack:"id"`
	Source string `msgpack:"source"`
	Text   string `msgpack:"text"`
}

// ContentRequest asks for Count messages, beginning with number From.
type ContentRequest struct {
	From  uint64 `msgpack:"from"`
	Count uint32 `msgpack:"count"`
}

// Receipt says that a message has arrived, and what of it was seen.
type Receipt struct {
	Sum uint32 `msgpack:"sum"`
}
