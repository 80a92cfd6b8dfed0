package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/webhooks"
)

// loopback is where the receiver is: an address that webhooks reach because the demo allows this one.
const loopback = "127.0.0.1"

// receiverName describes the receiver's webhook.
const receiverName = "the demo's receiver"

// Receiver plays the service that a tenant of the demo has of its own: it takes a webhook's deliveries at a free port of 127.0.0.1, verifies
// their signatures as any receiver does, and shows the last ones to whoever asks with GET. Close ends it.
type Receiver struct {
	server   *http.Server
	listener net.Listener
	roots    *x509.CertPool
	served   chan struct{}

	mu     sync.Mutex
	secret []byte
	last   []delivery // the newest first
}

// delivery is one as the receiver shows it.
type delivery struct {
	ID   string         `json:"id"`
	Body jsontext.Value `json:"body"`
}

// shown is how many deliveries a receiver shows.
const shown = 20

// Listen starts a receiver, with a certificate of its own.
func Listen() (*Receiver, error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AddCert(certificate.Leaf)
	listener, err := tls.Listen("tcp", loopback+":0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "demo.Listen", "the demo's receiver of webhooks can't listen on %s", loopback)
	}
	r := &Receiver{listener: listener, roots: roots, served: make(chan struct{})}
	r.server = &http.Server{Handler: r, ReadTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(r.served)
		r.server.Serve(listener)
	}()
	return r, nil
}

// selfSigned returns a certificate for the loopback address.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	form := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: receiverName}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IPAddresses: []net.IP{net.ParseIP(loopback)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Close ends the receiver.
func (r *Receiver) Close() error {
	err := r.server.Close()
	<-r.served
	return err
}

// URL returns where the receiver is.
func (r *Receiver) URL() string { return "https://" + r.listener.Addr().String() + "/" }

// Allow lets webhooks reach the receiver, which nobody could whose address is not public, and trust its certificate beside the system's.
func (r *Receiver) Allow(o *webhooks.Options) {
	o.Allow, o.Roots = append(o.Allow, netip.MustParsePrefix(loopback+"/32")), r.roots
}

// Subscribe has a tenant's webhook lead to the receiver: the one of an earlier start, whose port was another, or a new one. It reports whether one
// does: a webhook that a user deleted, or led elsewhere, stays so.
func (r *Receiver) Subscribe(ctx context.Context, app *tenantry.App, code tenant.Code) (leads bool, err error) {
	sys, err := system(ctx, app)
	if err != nil {
		return false, err
	}
	state, err := app.Tenants().State(ctx, code)
	if err != nil {
		return false, err
	}
	sc, err := sys.Enter(ctx, code, state.Born)
	if err != nil {
		return false, err
	}
	former, err := subscribed(ctx, app, sc)
	if err != nil {
		return false, err
	}
	url, description, types := r.URL(), receiverName, []string{product, order}
	if former == nil {
		hook, err := app.Webhooks().Create(ctx, sc, webhooks.Change{URL: &url, Description: &description, EntityTypes: &types})
		return err == nil, errors.Join(err, r.know(hook.Secret))
	}
	hook, err := app.Webhooks().Get(ctx, sc, former.SK)
	if errors.Is(err, fault.NotFound) || err == nil && !strings.HasPrefix(hook.URL, "https://"+loopback+":") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, _, err := app.Webhooks().Update(ctx, sc, hook.ID, webhooks.Change{URL: &url}); err != nil {
		return false, err
	}
	hook, _, err = app.Webhooks().Rotate(ctx, sc, hook.ID) // a secret is shown once: the one before is forgotten
	return err == nil, errors.Join(err, r.know(hook.Secret))
}

// subscribed returns the record of the webhook that the demo made in sc's tenant, one that lives before one that was deleted; nil for none.
func subscribed(ctx context.Context, app *tenantry.App, sc guard.Scope) (found *record.Record, err error) {
	partition, err := record.NewPartition(sc, webhooks.EntityType())
	if err != nil {
		return nil, err
	}
	page, err := app.Data().List(ctx, sc, data.Query{Partition: partition, IncludeDeleted: true, Limit: data.MaxLimit})
	for _, rec := range page.Items {
		if rec.CreatedBy == subject && (found == nil || found.IsDeleted) {
			found = rec
		}
	}
	return found, err
}

func (r *Receiver) know(secret string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = key
	return err
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 4<<20))
		if err != nil || !r.take(req.Header, body) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return
	}
	r.mu.Lock()
	text, err := json.Marshal(struct {
		Received []delivery `json:"received"`
	}{r.last})
	r.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(text, '\n'))
}

// take keeps a delivery, once, if one of its signatures is right.
func (r *Receiver) take(header http.Header, body []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := header.Get("webhook-id")
	mac := hmac.New(sha256.New, r.secret)
	mac.Write([]byte(id + "." + header.Get("webhook-timestamp") + "."))
	mac.Write(body)
	right := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if r.secret == nil || !slices.ContainsFunc(strings.Fields(header.Get("webhook-signature")), func(s string) bool { return hmac.Equal([]byte(s), []byte(right)) }) {
		return false
	}
	if !slices.ContainsFunc(r.last, func(d delivery) bool { return d.ID == id }) {
		r.last = slices.Insert(r.last, 0, delivery{id, body})
		r.last = r.last[:min(len(r.last), shown)]
	}
	return true
}
