package lifeboattest

import (
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
)

// links are the networks between regions, by who calls and who is called.
type links map[[2]string]link

// link is over which one region calls another: a proxy for each of its control
// processes.
type link []*faultproxy.Proxy

// add puts a proxy in front of a listener of a region and returns its address.
func (l links) add(from, to, target string) (address string, err error) {
	proxy, err := faultproxy.Start(faultproxy.Options{Target: target})
	if err != nil {
		return "", err
	}
	ends := [2]string{from, to}
	l[ends] = append(l[ends], proxy)
	return proxy.Address(), nil
}

func (l links) get(from, to string) Link {
	found, ok := l[[2]string{from, to}]
	if !ok {
		panic("there is no link from " + from + " to " + to)
	}
	return found
}

// each does something with all links from and to a region.
func (l links) each(region string, do func(Link)) {
	for ends, one := range l {
		if ends[0] == region || ends[1] == region {
			do(one)
		}
	}
}

func (l links) roundTrip(d time.Duration) {
	for _, one := range l {
		one.Delay(d / 2)
	}
}

func (l links) close() error {
	var errs []error
	for _, one := range l {
		for _, proxy := range one {
			errs = append(errs, proxy.Close())
		}
	}
	return errors.Join(errs...)
}

// Cut implements Link.
func (l link) Cut() { l.each((*faultproxy.Proxy).Cut) }

// Blackhole implements Link.
func (l link) Blackhole() { l.each((*faultproxy.Proxy).Blackhole) }

// Delay implements Link.
func (l link) Delay(d time.Duration) { l.each(func(p *faultproxy.Proxy) { p.Delay(d) }) }

// Throttle implements Link.
func (l link) Throttle(bytesPerSecond int) {
	l.each(func(p *faultproxy.Proxy) { p.Throttle(bytesPerSecond) })
}

// Heal implements Link.
func (l link) Heal() { l.each((*faultproxy.Proxy).Heal) }

func (l link) each(do func(*faultproxy.Proxy)) {
	for _, p := range l {
		do(p)
	}
}
