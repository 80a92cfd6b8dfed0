package cli_test

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

// curl stands for the program of that name in scripts, with the flags that the demo prints. It prints the status before the body.
func curl() {
	header := http.Header{}
	flags := flag.NewFlagSet("curl", flag.ExitOnError)
	flags.Bool("s", false, "print no progress")
	stream := flags.Bool("sN", false, "print what comes first of an answer without an end")
	insecure := flags.Bool("k", false, "take any certificate")
	body := flags.String("d", "", "body of a POST")
	flags.Func("H", "header", func(text string) error {
		name, value, _ := strings.Cut(text, ": ")
		header.Add(name, value)
		return nil
	})
	flags.Parse(os.Args[1:])
	if flags.NArg() != 1 {
		log.Fatalf("curl: not one URL: %q", flags.Args())
	}
	method := http.MethodGet
	if *body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, flags.Arg(0), strings.NewReader(*body))
	if err != nil {
		log.Fatal(err)
	}
	r.Header = header
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: *insecure}}}
	resp, err := client.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	var text []byte
	if *stream {
		text = make([]byte, 1)
		_, err = io.ReadFull(resp.Body, text)
	} else {
		text, err = io.ReadAll(resp.Body)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %s\n", resp.StatusCode, bytes.TrimSpace(text))
}
