// go run push.go USER TEXT: one push from Go's standard library.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

var client = http.Client{Timeout: 10 * time.Second}

// push returns when the gateway has it. The id makes a second try harmless: the message is delivered once.
func push(user string, data any) (id string, err error) {
	random := make([]byte, 16)
	if _, err = rand.Read(random); err != nil {
		return "", err
	}
	id = fmt.Sprintf("%x", random)
	body, err := json.Marshal(map[string]any{
		"to": map[string]any{"users": []string{user}}, "type": "note", "id": id, "data": data,
	})
	if err != nil {
		return "", err
	}
	for try := 1; ; try++ {
		wait, err := post(body)
		if err == nil || wait == never || try == 5 {
			return id, err
		}
		time.Sleep(wait)
	}
}

const never time.Duration = -1

// post says with an error how long to wait before the next try; never: there is no sense in one.
func post(body []byte) (time.Duration, error) {
	request, err := http.NewRequest(http.MethodPost, os.Getenv("TIDEGATE_API")+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return never, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TIDEGATE_API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return time.Second, err
	}
	defer answer.Body.Close()
	words, _ := io.ReadAll(answer.Body)
	switch answer.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		if err != nil || seconds < 0 {
			seconds = 1
		}
		return time.Duration(seconds) * time.Second, fmt.Errorf("%s: %s", answer.Status, words)
	default:
		return never, fmt.Errorf("%s: %s", answer.Status, words)
	}
}

func main() {
	id, err := push(os.Args[1], map[string]string{"text": os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id)
}
