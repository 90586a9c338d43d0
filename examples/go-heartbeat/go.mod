module taskhost.example/go-heartbeat

go 1.21
