module tidegate.example/real-name

go 1.19
