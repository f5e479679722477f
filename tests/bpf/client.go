// A client that knows of no proxy and no libc: `client URL BODY` posts and prints the answer; `client -udp ADDR` sends
// a datagram and prints what the kernel says.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if os.Args[1] == "-udp" {
		conn, err := net.Dial("udp", os.Args[2])
		if err == nil {
			_, err = conn.Write([]byte("hello"))
		}
		fmt.Println(err)
		return
	}
	client := http.Client{Timeout: 20 * time.Second}
	answer, err := client.Post(os.Args[1], "application/json", strings.NewReader(os.Args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}
