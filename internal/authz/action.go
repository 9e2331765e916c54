package authz

import "slices"

// Action is what a caller wants to do; Cedar's name for it is Action::"NAME".
type Action string

// The actions. They are the calls of the API, but for PurgeSecret, which is
// DeleteSecret at once, those on conflicts of anything but secrets, which have names
// of their own, and BatchGetSecretValues, WhoAmI and ExchangeToken: the first is
// GetSecretValue for each secret, the others are open to every principal.
const (
	CreateSecret     Action = "CreateSecret"
	PutSecretVersion Action = "PutSecretVersion"
	UpdateSecret     Action = "UpdateSecret"
	DescribeSecret   Action = "DescribeSecret"
	GetSecretValue   Action = "GetSecretValue"
	ListSecrets      Action = "ListSecrets"
	MoveStage        Action = "MoveStage"
	DeleteSecret     Action = "DeleteSecret"
	PurgeSecret      Action = "PurgeSecret"
	RestoreSecret    Action = "RestoreSecret"
	ReplicateSecret  Action = "ReplicateSecret"
	PromoteSecret    Action = "PromoteSecret"
	RotateSecret     Action = "RotateSecret"
	GenerateValue    Action = "GenerateValue"
	WatchSecrets     Action = "WatchSecrets"

	CreateVault    Action = "CreateVault"
	GetVault       Action = "GetVault"
	ListVaults     Action = "ListVaults"
	UpdateVault    Action = "UpdateVault"
	DeleteVault    Action = "DeleteVault"
	ReplicateVault Action = "ReplicateVault"

	CreatePrincipal  Action = "CreatePrincipal"
	GetPrincipal     Action = "GetPrincipal"
	ListPrincipals   Action = "ListPrincipals"
	UpdatePrincipal  Action = "UpdatePrincipal"
	DeletePrincipal  Action = "DeletePrincipal"
	CreateToken      Action = "CreateToken"
	CreateAccessKey  Action = "CreateAccessKey"
	ListCredentials  Action = "ListCredentials"
	RevokeCredential Action = "RevokeCredential"
	PutPolicy        Action = "PutPolicy"
	GetPolicy        Action = "GetPolicy"
	ListPolicies     Action = "ListPolicies"
	DeletePolicy     Action = "DeletePolicy"

	CreateTrust     Action = "CreateTrust"
	UpdateTrust     Action = "UpdateTrust"
	ListTrusts      Action = "ListTrusts"
	DeleteTrust     Action = "DeleteTrust"
	BindPrincipal   Action = "BindPrincipal"
	UnbindPrincipal Action = "UnbindPrincipal"
	ListBindings    Action = "ListBindings"
	CreateIssuer    Action = "CreateIssuer"
	GetIssuer       Action = "GetIssuer"
	ListIssuers     Action = "ListIssuers"
	UpdateIssuer    Action = "UpdateIssuer"
	DeleteIssuer    Action = "DeleteIssuer"
	RefreshIssuer   Action = "RefreshIssuer"

	CreateAccount       Action = "CreateAccount"
	GetAccount          Action = "GetAccount"
	ListAccounts        Action = "ListAccounts"
	GetStatus           Action = "GetStatus"
	ListHosts           Action = "ListHosts"
	RemoveHost          Action = "RemoveHost"
	ListFailedMutations Action = "ListFailedMutations"
	RetryFailedMutation Action = "RetryFailedMutation"
	ManageQueue         Action = "ManageQueue"
	GetFormats          Action = "GetFormats"
	HoldFormats         Action = "HoldFormats"
	ListPeers           Action = "ListPeers"
	AdmitPeer           Action = "AdmitPeer"
)

// The actions on keys.
const (
	RotateDataKey  Action = "RotateDataKey"
	GetDataKeys    Action = "GetDataKeys"
	RetireDataKeys Action = "RetireDataKeys"

	ShredVault Action = "ShredVault"

	RotateMasterKey Action = "RotateMasterKey"
)

// The actions on homes of records, and on what was held past a fork.
const (
	TakeOverRegion  Action = "TakeOverRegion"
	ListTakeovers   Action = "ListTakeovers"
	ForgetRegion    Action = "ForgetRegion"
	MoveVault       Action = "MoveVault"
	MoveRegion      Action = "MoveRegion"
	ListMoves       Action = "ListMoves"
	ListConflicts   Action = "ListConflicts"
	GetConflict     Action = "GetConflict"
	DiscardConflict Action = "DiscardConflict"
	// The same of conflicts of anything but secrets.
	ListAccountConflicts   Action = "ListAccountConflicts"
	GetAccountConflict     Action = "GetAccountConflict"
	DiscardAccountConflict Action = "DiscardAccountConflict"
	// RunDrill is to cut off and take over a vault that was made for a drill.
	RunDrill Action = "RunDrill"
)

// Group is a set of actions that policies can name at once: action in
// Action::"read".
type Group string

// The groups. None implies another.
const (
	// GroupRead is to find and read secrets, and the vaults they are in.
	GroupRead Group = "read"
	// GroupWrite is to create and change secrets, up to a deletion that can be
	// restored; not to read values.
	GroupWrite Group = "write"
	// GroupPurge is to delete secrets beyond recall.
	GroupPurge Group = "purge"
	// GroupShred is to delete vaults with all their secrets beyond recall.
	GroupShred Group = "shred"
	// GroupManage is to make and change vaults, principals, credentials and policies,
	// and whom the account trusts to prove who calls.
	// Who has it can give itself the rest.
	GroupManage Group = "manage"
	// GroupOperate is to run the region and to make accounts; it has effect only in
	// policies of the operators' account.
	GroupOperate Group = "operate"
)

// definition says in which groups an action is and what it is done to.
type definition struct {
	action    Action
	groups    []Group
	resources []ResourceKind
}

func definitions() []definition {
	var all []definition
	add := func(groups []Group, resources []ResourceKind, actions ...Action) {
		for _, a := range actions {
			all = append(all, definition{a, groups, resources})
		}
	}
	kinds := func(k ...ResourceKind) []ResourceKind { return k }
	groups := func(g ...Group) []Group { return g }

	add(groups(GroupRead), kinds(SecretResource), GetSecretValue, DescribeSecret)
	add(groups(GroupRead), kinds(VaultResource), ListSecrets, WatchSecrets)
	add(groups(GroupRead), kinds(AccountResource), GenerateValue)
	add(groups(GroupRead, GroupManage), kinds(VaultResource), GetVault)
	add(groups(GroupRead, GroupManage), kinds(AccountResource), ListVaults)
	add(groups(GroupWrite), kinds(SecretResource),
		PutSecretVersion, UpdateSecret, MoveStage, DeleteSecret, RestoreSecret, RotateSecret)
	add(groups(GroupWrite), kinds(SecretResource, VaultResource), CreateSecret)
	add(groups(GroupPurge), kinds(SecretResource), PurgeSecret)
	add(groups(GroupManage), kinds(VaultResource), UpdateVault, DeleteVault, ReplicateVault)
	add(groups(GroupManage), kinds(SecretResource), ReplicateSecret, PromoteSecret)
	add(groups(GroupManage), kinds(VaultResource, AccountResource), CreateVault)
	add(groups(GroupManage), kinds(PrincipalResource),
		GetPrincipal, UpdatePrincipal, DeletePrincipal, CreateToken, CreateAccessKey)
	add(groups(GroupManage), kinds(PrincipalResource, AccountResource), CreatePrincipal, ListCredentials)
	add(groups(GroupManage), kinds(CredentialResource), RevokeCredential)
	add(groups(GroupManage), kinds(PolicyResource), PutPolicy, GetPolicy, DeletePolicy)
	add(groups(GroupManage), kinds(AccountResource), ListPrincipals, ListPolicies)
	add(groups(GroupManage), kinds(TrustResource), CreateTrust, UpdateTrust, DeleteTrust)
	add(groups(GroupManage), kinds(IssuerResource), CreateIssuer, GetIssuer, UpdateIssuer, DeleteIssuer, RefreshIssuer)
	add(groups(GroupManage), kinds(PrincipalResource), BindPrincipal, UnbindPrincipal)
	add(groups(GroupManage), kinds(PrincipalResource, AccountResource), ListBindings)
	add(groups(GroupManage), kinds(AccountResource), ListTrusts, ListIssuers)
	add(groups(GroupManage), kinds(AccountResource), GetAccount)
	add(groups(GroupManage), kinds(VaultResource, AccountResource), RotateDataKey, GetDataKeys)
	add(groups(GroupManage), kinds(VaultResource), MoveVault)
	add(groups(GroupRead, GroupManage), kinds(VaultResource), ListConflicts)
	add(groups(GroupRead), kinds(SecretResource), GetConflict)
	add(groups(GroupPurge), kinds(SecretResource), DiscardConflict)
	add(groups(GroupManage), kinds(VaultResource, AccountResource), GetAccountConflict)
	add(groups(GroupManage, GroupOperate), kinds(AccountResource, RegionResource), ListAccountConflicts)
	add(groups(GroupManage, GroupOperate), kinds(VaultResource, AccountResource, RegionResource), DiscardAccountConflict)
	add(groups(GroupOperate), kinds(RegionResource), TakeOverRegion, ListTakeovers, ForgetRegion, MoveRegion, ListMoves, RunDrill)
	add(groups(GroupShred), kinds(VaultResource), ShredVault)
	add(groups(GroupOperate), kinds(RegionResource), RetireDataKeys, RotateMasterKey)
	add(groups(GroupOperate), kinds(RegionResource), CreateAccount, ListAccounts,
		GetStatus, ListHosts, RemoveHost, ListFailedMutations, RetryFailedMutation, ManageQueue, GetFormats, HoldFormats, ListPeers, AdmitPeer)
	return all
}

// Actions returns all actions, sorted.
func Actions() []Action {
	var all []Action
	for _, d := range definitions() {
		all = append(all, d.action)
	}
	slices.Sort(all)
	return all
}

// Groups returns all groups of actions.
func Groups() []Group {
	return []Group{GroupRead, GroupWrite, GroupPurge, GroupShred, GroupManage, GroupOperate}
}

// Actions returns the actions of a group, sorted.
func (g Group) Actions() []Action {
	var in []Action
	for _, d := range definitions() {
		if slices.Contains(d.groups, g) {
			in = append(in, d.action)
		}
	}
	slices.Sort(in)
	return in
}
