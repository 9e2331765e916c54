package config

import (
	"fmt"
	"strings"
	"testing"
)

// linked is the file of a process with links, up to its peers.
const linked = minimal + `
listen: {region_address: "10.0.0.1:8203"}
tls: {peer: {cert_file: a, key_file: b, ca_file: c}}
`

func TestPeers(t *testing.T) {
	c, err := load(t, linked+`
peers:
- {region: west, addresses: ["west-1:8203", "west-2:8203"], ca_file: west.pem}
- {region: south, addresses: ["south-1:8203"], ca_file: /tls/south.pem}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.RegionAdvertise != "10.0.0.1:8203" {
		t.Errorf("region_advertise = %q", c.Listen.RegionAdvertise)
	}
	if got := c.Peers[0].CAFile; got != "/var/lib/lifeboat/west.pem" {
		t.Errorf("peers[0].ca_file = %s", got)
	}
	if got := c.Peers[1].CAFile; got != "/tls/south.pem" {
		t.Errorf("peers[1].ca_file = %s", got)
	}
}

func TestRefusedPeers(t *testing.T) {
	peer := func(region, rest string) string {
		return fmt.Sprintf("{region: %s, addresses: ['a:1'], ca_file: ca%s}", region, rest)
	}
	var eleven []string
	for i := range 11 {
		eleven = append(eleven, peer(fmt.Sprint("r", i), ""))
	}
	for name, tt := range map[string]struct{ text, want string }{
		"itself":          {linked + "peers: [" + peer("east", "") + "]\n", "peers[0].region: is east, this region itself"},
		"twice":           {linked + "peers: [" + peer("west", "") + ", " + peer("west", "") + "]\n", "peers[1].region: west is listed twice"},
		"too many":        {linked + "peers: [" + strings.Join(eleven, ", ") + "]\n", "peers: has 11 entries; the limit is 10"},
		"bad name":        {linked + "peers: [" + peer("WEST", "") + "]\n", "peers[0].region: has the character"},
		"no name":         {linked + "peers: [{addresses: ['a:1'], ca_file: ca}]\n", "peers[0].region: must not be empty"},
		"no authority":    {linked + "peers: [{region: west, addresses: ['a:1']}]\n", "peers[0].ca_file: must not be empty"},
		"no address":      {linked + "peers: [{region: west, ca_file: ca}]\n", "peers[0].addresses: has 0 entries"},
		"bad address":     {linked + "peers: [{region: west, addresses: [a], ca_file: ca}]\n", "peers[0].addresses[0]: is \"a\"; it must be host:port"},
		"all addresses":   {linked + "peers: [{region: west, addresses: [':1'], ca_file: ca}]\n", "peers[0].addresses[0]: is \":1\"; it must name a host"},
		"address twice":   {linked + "peers: [{region: west, addresses: ['a:1', 'a:1'], ca_file: ca}]\n", "peers[0].addresses[1]: a:1 is listed twice"},
		"own address":     {linked + "peers: [{region: west, addresses: ['10.0.0.1:8203'], ca_file: ca}]\n", "peers[0].addresses[0]: is 10.0.0.1:8203, where this process itself listens"},
		"unknown key":     {linked + "peers: [" + peer("west", ", tls: {}") + "]\n", "line "},
		"nowhere to call": {minimal + "tls: {peer: {cert_file: a, key_file: b, ca_file: c}}\npeers: [" + peer("west", "") + "]\n", "listen.region_address: must not be empty with peers"},
		"no certificate":  {minimal + "listen: {region_address: 'a:1'}\npeers: [" + peer("west", "") + "]\n", "tls.peer: listen.region_address needs tls.peer"},
		"peers alone":     {minimal + "peers: [" + peer("west", "") + "]\n", "tls.peer: peers needs tls.peer"},
		"advertise alone": {minimal + "listen: {region_advertise: 'a:1'}\n", "listen.region_address: must not be empty with listen.region_advertise"},
		"advertise all":   {strings.Replace(linked, "10.0.0.1:8203", ":8203", 1), "listen.region_advertise: is \":8203\"; it must name a host"},
		"host with links": {"region: {name: east}\nprocess: {id: a, roles: [host]}\nlisten: {region_address: 'a:1'}\n", "listen.region_address: needs the role control"},
		"host with peers": {"region: {name: east}\nprocess: {id: a, roles: [host]}\npeers: [" + peer("west", "") + "]\n", "peers: needs the role control"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
	}
}
