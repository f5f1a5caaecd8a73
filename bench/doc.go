// Command bench measures Mycel beside WebSocket transports.
//
// # Usage
//
//	go run ./bench                                  an overview within a minute
//	go run ./bench -duration 2s -rounds 5           figures to rely on
//	go run ./bench -scenario small -transport mycel,wss -json report.json
//	go run ./bench -scenario large,handover         large objects in shared memory, as streams and as messages
//	go run ./bench -list                            scenarios and transports
//
// The program itself is the nested module bench/peers, so that the libraries of other transports never become
// requirements of Mycel's users. This package builds it and runs it with the same arguments, input, output, working
// directory and exit code, and passes signals on. Run it inside the repository.
package main
