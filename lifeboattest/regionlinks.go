package lifeboattest

import (
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
)

// links are the proxies between regions, by who calls and who is called.
type links map[[2]string]*faultproxy.Proxy

// add puts a proxy in front of a region's listener and returns its address.
func (l links) add(from, to, target string) (address string, err error) {
	proxy, err := faultproxy.Start(faultproxy.Options{Target: target})
	if err != nil {
		return "", err
	}
	l[[2]string{from, to}] = proxy
	return proxy.Address(), nil
}

func (l links) get(from, to string) Link {
	proxy, ok := l[[2]string{from, to}]
	if !ok {
		panic("there is no link from " + from + " to " + to)
	}
	return proxy
}

// each does something with all links from and to a region.
func (l links) each(region string, do func(*faultproxy.Proxy)) {
	for ends, proxy := range l {
		if ends[0] == region || ends[1] == region {
			do(proxy)
		}
	}
}

func (l links) roundTrip(d time.Duration) {
	for _, proxy := range l {
		proxy.Delay(d / 2)
	}
}

func (l links) close() error {
	var errs []error
	for _, proxy := range l {
		errs = append(errs, proxy.Close())
	}
	return errors.Join(errs...)
}
