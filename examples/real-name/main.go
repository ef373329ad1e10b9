// Real-name verification by QR code: a business system in Go's standard library.
//
// A page shows a QR code and waits. A person opens it on a phone, at a third party; the third party calls this system
// back, and this one pushes the result to the page that waits. Nobody is signed in: the page has a ticket.
//
//	TIDEGATE_API      where to push, such as http://127.0.0.1:8081
//	TIDEGATE_API_KEY  a key of the scopes push and ticket
//	TIDEGATE_CLIENT   where browsers connect, such as http://127.0.0.1:8080
//	LISTEN            127.0.0.1:8091
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const caseLife = 5 * time.Minute

// A verification that somebody has begun. The result is kept here: the push only tells of it.
type verification struct {
	ID     string `json:"id"`
	Ticket string `json:"ticket"`
	target string // the ticket's id: what is pushed to
	State  string `json:"state"` // waiting, scanned, verified, refused
	Name   string `json:"name,omitempty"`
	ends   time.Time
}

type business struct {
	sync.Mutex
	cases  map[string]*verification
	secret []byte // shared with the third party, which signs its calls with it
	api    string
	key    string
	http   http.Client
}

func random() string {
	value := make([]byte, 16)
	if _, err := rand.Read(value); err != nil {
		log.Fatal(err)
	}
	return hex.EncodeToString(value)
}

// One HTTP call to tidegate. A 503 means that nothing is known to be kept: try again, with the same id.
func (b *business) call(path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, b.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+b.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := b.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("tidegate: %s", response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func (b *business) push(id, ticket string, data any, final bool) error {
	message := map[string]any{
		"to": map[string]any{"tickets": []string{ticket}}, "type": "verification", "id": id, "data": data, "final": final,
	}
	var err error
	for try := 0; try < 3; try++ {
		if err = b.call("/v1/messages", message, &struct{}{}); err == nil {
			return nil
		}
		time.Sleep(time.Duration(try+1) * 200 * time.Millisecond)
	}
	return err
}

// ---- what the page asks ----

func (b *business) begin(w http.ResponseWriter, r *http.Request) {
	var made struct{ Ticket, ID string }
	err := b.call("/v1/tickets", map[string]any{"scene": "real-name", "ttl_ms": caseLife.Milliseconds()}, &made)
	if err != nil {
		log.Print(err)
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	begun := &verification{
		ID: random(), Ticket: made.Ticket, target: made.ID, State: "waiting", ends: time.Now().Add(caseLife),
	}
	b.Lock()
	b.forgetOld()
	b.cases[begun.ID] = begun
	b.Unlock()
	answer(w, begun)
}

func (b *business) forgetOld() {
	for id, known := range b.cases {
		if time.Now().After(known.ends) {
			delete(b.cases, id)
		}
	}
}

func (b *business) find(id string) *verification {
	b.Lock()
	defer b.Unlock()
	known := b.cases[id]
	if known == nil || time.Now().After(known.ends) {
		return nil
	}
	found := *known
	return &found
}

// The code as an image: Debian's qrencode makes it. Without it the page shows a link.
func (b *business) code(w http.ResponseWriter, r *http.Request) {
	known := b.find(r.URL.Query().Get("case"))
	if known == nil {
		http.NotFound(w, r)
		return
	}
	address := "http://" + r.Host + "/third-party?case=" + known.ID
	image, err := exec.Command("qrencode", "-t", "SVG", "-o", "-", address).Output()
	if err != nil {
		http.Error(w, "qrencode is not installed", http.StatusNotImplemented)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Write(image)
}

// ---- what the third party says ----

// The callback: signed, and told again when it got no 2xx, so each step must be harmless twice.
func (b *business) callback(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, 10000)); err != nil {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		return
	}
	if !hmac.Equal([]byte(r.Header.Get("Signature")), []byte(b.sign(body.Bytes()))) {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	var told struct{ Case, State, Name string }
	if err := json.Unmarshal(body.Bytes(), &told); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	if err := b.take(told.Case, told.State, told.Name); err != nil {
		log.Print(err)
		http.Error(w, "tell me again", http.StatusServiceUnavailable)
	}
}

func (b *business) take(id, state, name string) error {
	b.Lock()
	known := b.cases[id]
	if known == nil {
		b.Unlock()
		return nil // it is over: nobody waits
	}
	isResult := state == "verified" || state == "refused"
	if known.State != "verified" && known.State != "refused" {
		known.State, known.Name = state, name
	}
	target, data := known.target, map[string]string{"state": known.State, "name": known.Name}
	b.Unlock()
	return b.push(id+"-"+state, target, data, isResult)
}

func (b *business) sign(body []byte) string {
	mac := hmac.New(sha256.New, b.secret)
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// ---- the third party, simulated: on the phone ----

var phonePage = template.Must(template.ParseFiles(beside("web/phone.html")))

func (b *business) thirdParty(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("case")
	state := ""
	if r.Method == http.MethodGet {
		state = "scanned"
	} else if r.FormValue("ok") != "" {
		state = "verified"
	} else {
		state = "refused"
	}
	err := b.tell(r.Host, map[string]string{"case": id, "state": state, "name": r.FormValue("name")})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	phonePage.Execute(w, map[string]any{"Case": id, "State": state, "Failed": err != nil})
}

// A third party calls over the network, as this does.
func (b *business) tell(host string, told map[string]string) error {
	body, _ := json.Marshal(told)
	request, err := http.NewRequest(http.MethodPost, "http://"+host+"/callback", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Signature", b.sign(body))
	response, err := b.http.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// ---- the rest ----

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(value)
}

func beside(path string) string {
	return filepath.Join(os.Getenv("SCENE"), path)
}

func file(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client := os.Getenv("TIDEGATE_CLIENT")
		socket := strings.Replace(client, "http", "ws", 1)
		w.Header().Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' "+client+" "+socket)
		w.Header().Set("Cache-Control", "no-store")
		http.ServeFile(w, r, beside(path))
	}
}

func (b *business) page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	file("web/index.html")(w, r)
}

// A page of another site can't send this type without asking first (CORS), and isn't answered then.
func ownPages(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "POST of application/json", http.StatusForbidden)
			return
		}
		handle(w, r)
	}
}

func main() {
	b := &business{
		cases:  map[string]*verification{},
		secret: []byte(random()),
		api:    os.Getenv("TIDEGATE_API"),
		key:    os.Getenv("TIDEGATE_API_KEY"),
		http:   http.Client{Timeout: 5 * time.Second},
	}
	http.HandleFunc("/", b.page)
	http.HandleFunc("/app.js", file("web/app.js"))
	http.HandleFunc("/style.css", file("../style.css"))
	http.Handle("/sdk/", http.StripPrefix("/sdk/", http.FileServer(http.Dir(beside("../../sdk/js")))))
	http.HandleFunc("/settings", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]string{"gateway": os.Getenv("TIDEGATE_CLIENT")})
	})
	http.HandleFunc("/cases", ownPages(b.begin))
	http.HandleFunc("/code", b.code)
	http.HandleFunc("/callback", b.callback)
	http.HandleFunc("/third-party", b.thirdParty)
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = "127.0.0.1:8091"
	}
	server := http.Server{Addr: listen, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
