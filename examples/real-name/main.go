// Real-name verification by QR code: a business system in Go's standard library.
//
// A page shows a QR code and waits. A person opens it on a phone, at a third party; the third party calls this system
// back, and this one pushes the result to the page that waits. Nobody is signed in: the page has a ticket.
//
//	TIDEGATE_API      where to push, such as http://127.0.0.1:8081
//	TIDEGATE_API_KEY  a key of the scopes push and ticket
//	TIDEGATE_CLIENT   where browsers connect, such as http://127.0.0.1:8080
//	LISTEN            127.0.0.1:8091, an address that it can call itself at
//	SCENE             the folder with web/ (the working directory)
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
	"strconv"
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
	own    string // where the third party calls back; never what a request says in Host
	http   http.Client
}

// What tidegate said instead of 2xx.
type refusal int

func (r refusal) Error() string {
	return fmt.Sprintf("tidegate: %d %s", int(r), http.StatusText(int(r)))
}

// Only these are worth another try: too many requests, and nothing known to be kept.
func (r refusal) passes() bool {
	return r == http.StatusTooManyRequests || r >= 500
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
		return refusal(response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// Nil also when nobody can be told any more: the ticket is over (410), or unknown (404).
func (b *business) push(id, ticket string, data any, final bool) error {
	message := map[string]any{
		"to": map[string]any{"tickets": []string{ticket}}, "type": "verification", "id": id, "data": data, "final": final,
	}
	for try := 1; ; try++ {
		err := b.call("/v1/messages", message, &struct{}{})
		var refused refusal
		isRefused := errors.As(err, &refused)
		if isRefused && (refused == http.StatusNotFound || refused == http.StatusGone) {
			return nil
		}
		if err == nil || try == 3 || (isRefused && !refused.passes()) {
			return err
		}
		time.Sleep(time.Duration(try) * 200 * time.Millisecond)
	}
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
	if !b.isSigned(r.Header, body.Bytes()) {
		http.Error(w, "not signed, or long ago", http.StatusForbidden)
		return
	}
	var told struct{ Case, State, Name string }
	if err := json.Unmarshal(body.Bytes(), &told); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	if !steps[told.State] {
		http.Error(w, "no such state", http.StatusBadRequest)
		return
	}
	if err := b.take(told.Case, told.State, told.Name); err != nil {
		log.Print(err)
		http.Error(w, "tell me again", http.StatusServiceUnavailable)
	}
}

var steps = map[string]bool{"scanned": true, "verified": true, "refused": true}

// Signed is the time, too: what somebody has overheard is worth nothing a minute later.
func (b *business) isSigned(header http.Header, body []byte) bool {
	at := header.Get("Signed-At")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		return false
	}
	return hmac.Equal([]byte(header.Get("Signature")), []byte(b.sign(at, body)))
}

func (b *business) take(id, state, name string) error {
	b.Lock()
	known := b.cases[id]
	if known == nil || time.Now().After(known.ends) {
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

func (b *business) sign(at string, body []byte) string {
	mac := hmac.New(sha256.New, b.secret)
	fmt.Fprintf(mac, "%s.%s", at, body)
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
	err := b.tell(map[string]string{"case": id, "state": state, "name": r.FormValue("name")})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	phonePage.Execute(w, map[string]any{"Case": id, "State": state, "Failed": err != nil})
}

// A third party calls over the network, as this does, and where was agreed before: an address out of a request, such as
// its Host, would send signatures to whomever it names.
func (b *business) tell(told map[string]string) error {
	body, _ := json.Marshal(told)
	request, err := http.NewRequest(http.MethodPost, b.own+"/callback", bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Signed-At", at)
	request.Header.Set("Signature", b.sign(at, body))
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
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = "127.0.0.1:8091"
	}
	b := &business{
		cases:  map[string]*verification{},
		secret: []byte(random()),
		api:    os.Getenv("TIDEGATE_API"),
		key:    os.Getenv("TIDEGATE_API_KEY"),
		own:    "http://" + listen,
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
	server := http.Server{Addr: listen, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
