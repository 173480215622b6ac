package plugin

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestClockSkew(t *testing.T) {
	for name, test := range map[string]struct {
		server time.Duration // how far the server is behind this machine
		want   time.Duration
	}{
		"the same clock":    {0, 0},
		"within the second": {900 * time.Millisecond, 0},
		"an hour behind":    {time.Hour, time.Hour},
		"an hour ahead":     {-time.Hour, -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", clock.Add(-test.server).Format(http.TimeFormat))
			}))
			defer server.Close()
			listen := &serverClock{now: func() time.Time { return clock }}
			response, err := (&http.Client{Transport: listen.wrap(http.DefaultTransport)}).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if got := listen.ahead(); (got - test.want).Abs() > time.Second {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
	listen := &serverClock{now: time.Now}
	if listen.heard("no date", clock, clock); listen.ahead() != 0 || listen.trip != 0 {
		t.Error("an answer without a date was taken for one")
	}
	// A slow answer says less than a quick one before it.
	listen.heard(clock.Format(http.TimeFormat), clock, clock.Add(10*time.Millisecond))
	listen.heard(clock.Add(-time.Hour).Format(http.TimeFormat), clock, clock.Add(time.Minute))
	if listen.ahead() != 0 {
		t.Errorf("%s by a slow answer", listen.ahead())
	}
}
