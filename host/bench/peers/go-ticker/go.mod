module taskhost/peers/go-ticker

go 1.22
