module tag

go 1.19
