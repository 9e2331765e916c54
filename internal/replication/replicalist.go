package replication

import (
	"context"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// replicaList is what a survivor lists, compared with what is here.
type replicaList struct {
	// at is the moment of this region's copy, there that of the survivor's.
	at, there secret.Moment
	// newer counts what the survivor holds newer of what is no secret, missing is what it
	// alone holds of that.
	newer   int
	missing []record.Key
	// shared are the vaults that both regions hold, or are meant to; alone those that only
	// this region holds, withheld those that only the survivor is meant to.
	shared, alone, withheld []secret.VaultID
}

// list asks a survivor for what is no secret.
func (s *survivor) list(ctx context.Context) (*replicaList, error) {
	var there []*peerv1.Replica
	var began secret.Moment
	for start := ""; ; {
		answer, err := s.listPage(ctx, start)
		if err != nil {
			return nil, err
		}
		if start == "" {
			began = momentFromWire(answer)
		}
		s.answered = true
		there = append(there, answer.GetReplicas()...)
		if start = answer.GetNext(); start == "" {
			break
		}
	}
	var l *replicaList
	err := s.Local.View(func(view record.View) (err error) {
		l = &replicaList{there: began}
		if _, l.at, err = s.Service.LiveOf(view, nil); err != nil {
			return err
		}
		here, err := s.vaultsHere(view)
		if err != nil {
			return err
		}
		return l.compare(view, here, there)
	})
	return l, err
}

func (s *survivor) listPage(ctx context.Context, start string) (*peerv1.ListReplicasResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	answer, err := s.client.ListReplicas(ctx, connect.NewRequest(&peerv1.ListReplicasRequest{LostRegion: string(s.lost), Start: start}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// vaultsHere are the vaults in which the lost region may have secrets, that this one
// holds.
func (s *survivor) vaultsHere(view record.View) (map[secret.VaultID]bool, error) {
	here := map[secret.VaultID]bool{}
	for start := record.Key(""); ; {
		own, next, err := s.Service.ListReplicas(view, s.lost, s.Region, start)
		if err != nil {
			return nil, err
		}
		for _, r := range own {
			if vault := vaultIn(r.Key); vault != "" {
				here[vault] = true
			}
		}
		if start = next; next == "" {
			return here, nil
		}
	}
}

func (l *replicaList) compare(view record.View, here map[secret.VaultID]bool, there []*peerv1.Replica) error {
	for _, r := range there {
		key, order := record.Key(r.GetRecord()), orderFromWire(r)
		held, _, err := holding(view, key)
		if err != nil {
			return err
		}
		switch {
		case r.GetWithheld() || !secret.Ahead(order, held.Order):
		case held.Order != (secret.Order{}):
			l.newer++
		case !r.GetDeleted():
			l.missing = append(l.missing, key)
		}
		vault := vaultIn(key)
		switch {
		case vault == "":
		case here[vault] || !r.GetWithheld():
			l.shared = append(l.shared, vault)
		default:
			l.withheld = append(l.withheld, vault)
		}
		delete(here, vault)
	}
	for vault := range here {
		l.alone = append(l.alone, vault)
	}
	return nil
}

// vaultIn is the vault whose record a key is, empty if it is another one's.
func vaultIn(key record.Key) secret.VaultID {
	if !key.HasPrefix(record.VaultPrefix) {
		return ""
	}
	return secret.VaultID(key[len(record.VaultPrefix):])
}
