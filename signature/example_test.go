package signature_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/registry-notifications/notifications/signature"
)

// A receiver that takes no webhook without a signature, and a sender.
func Example() {
	// In a program: LoadKey("file:/run/secrets/webhook").
	key, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}

	verifier, err := signature.NewVerifier(signature.VerifierConfig{Keys: []signature.Key{key}})
	if err != nil {
		panic(err)
	}
	receiver := httptest.NewServer(verified(verifier, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("verified: %s\n", body)
	})))
	defer receiver.Close()

	signer, err := signature.NewSigner(key)
	if err != nil {
		panic(err)
	}
	id := signature.EnvelopeID("01890a5d-ac96-774b-bcce-b302099a8057")
	post := func(signed, sent string) {
		req, err := http.NewRequest(http.MethodPost, receiver.URL, strings.NewReader(sent))
		if err != nil {
			panic(err)
		}
		if err := signer.Sign(req.Header, id, time.Now(), []byte(signed)); err != nil {
			panic(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	post(`{"events":[]}`, `{"events":[]}`)
	post(`{"events":[]}`, `{"events":[{"action":"delete"}]}`)
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// verified: {"events":[]}
	// 200 OK
	// 401 Unauthorized
}

// verified passes on what was signed, with a body to read once more.
func verified(v *signature.Verifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
		if err != nil {
			status := http.StatusBadRequest
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, http.StatusText(status), status)
			return
		}
		if err := v.Verify(r.Header, body); err != nil {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(w, r)
	})
}

func ExampleSigner_Sign() {
	hmac, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	signer, err := signature.NewSigner(hmac)
	if err != nil {
		panic(err)
	}

	header := http.Header{}
	at := time.Unix(1614265330, 0) // in a program time.Now(), on each attempt
	if err := signer.Sign(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`)); err != nil {
		panic(err)
	}
	fmt.Println(header.Get("webhook-id"))
	fmt.Println(header.Get("webhook-timestamp"))
	fmt.Println(header.Get("webhook-signature"))
	// Output:
	// msg_p5jXN8AQM9LWM0D4loKWxJek
	// 1614265330
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

func ExampleVerifier_Verify() {
	key, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	verifier, err := signature.NewVerifier(signature.VerifierConfig{Keys: []signature.Key{key}})
	if err != nil {
		panic(err)
	}

	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330") // in 2021
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	err = verifier.Verify(header, []byte(`{"test": 2432232314}`))
	fmt.Println(errors.Is(err, signature.ErrTooOld))
	// Output:
	// true
}

// A key does not show its secret. What a receiver needs of an Ed25519 key may be shown.
func ExampleKey() {
	key, err := signature.ParseKey("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", struct{ Keys []signature.Key }{[]signature.Key{key}})
	fmt.Println(key.Public())
	// Output:
	// {Keys:[whsk_[redacted]]}
	// whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
}

// The id of an envelope follows from its events: a retry has it again.
func ExampleEnvelopeHash() {
	var hash signature.EnvelopeHash
	for _, eventID := range []string{"01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-7ab2-80e2-4536629c90de"} {
		hash.Add(eventID)
	}
	fmt.Println(hash.ID())
	// Output:
	// msg_K1CUyOwVx9xqFh0bI97uAwahfQWJeNv0
}
