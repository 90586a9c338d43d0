module taskhost.example/client-go

go 1.21
