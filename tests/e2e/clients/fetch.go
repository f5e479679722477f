// Go: a static binary, which knows no system library.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	id := answer.Header.Get("x-mesh-id")
	if id == "" {
		id = "None"
	}
	fmt.Println(answer.StatusCode, id)
}
