package client

import "time"

// SetPatience has watches give up a region that does not answer after d.
func (c *Client) SetPatience(d time.Duration) { c.patience = d }
