package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Resource is a kind of thing that Kafka lets a user do something with, in the words of its tools.
type Resource string

// The resources that are worked with.
const (
	TopicResource         Resource = "topic"
	GroupResource         Resource = "group"
	TransactionalResource Resource = "transactional-id"
)

// Operation is what may be done with a resource, in the words of Kafka's tools. Who may Read or Write
// may Describe too: Kafka implies it.
type Operation string

// The operations that are needed.
const (
	MayDescribe        Operation = "Describe"
	MayDescribeConfigs Operation = "DescribeConfigs"
	MayRead            Operation = "Read"
	MayWrite           Operation = "Write"
)

// Access is what a process must be allowed.
type Access struct {
	Resource Resource
	// Name is the resource's; with Prefixed, all whose names begin with it.
	Name       string
	Prefixed   bool
	Operations []Operation
}

// Grant gives a user access.
type Grant struct {
	// User is the name without "User:".
	User   string
	Access []Access
}

// acl is one operation that one user is allowed on one resource from any host.
type acl struct {
	user      string
	resource  Resource
	name      string
	prefixed  bool
	operation Operation
}

// acls returns every ACL of the grants once, in their order.
func acls(grants []Grant) []acl {
	var list []acl
	for _, g := range grants {
		for _, a := range g.Access {
			for _, op := range a.Operations {
				if one := (acl{g.User, a.Resource, a.Name, a.Prefixed, op}); !slices.Contains(list, one) {
					list = append(list, one)
				}
			}
		}
	}
	return list
}

// String writes it as "Read on topic order.events".
func (a acl) String() string {
	if a.prefixed {
		return fmt.Sprintf("%s on every %s that begins with %s", a.operation, a.resource, a.name)
	}
	return fmt.Sprintf("%s on %s %s", a.operation, a.resource, a.name)
}

func (a acl) pattern() kmsg.ACLResourcePatternType {
	if a.prefixed {
		return kmsg.ACLResourcePatternTypePrefixed
	}
	return kmsg.ACLResourcePatternTypeLiteral
}

func (r Resource) kmsg() kmsg.ACLResourceType {
	switch r {
	case TopicResource:
		return kmsg.ACLResourceTypeTopic
	case GroupResource:
		return kmsg.ACLResourceTypeGroup
	default:
		return kmsg.ACLResourceTypeTransactionalId
	}
}

func (o Operation) kmsg() kmsg.ACLOperation {
	switch o {
	case MayDescribe:
		return kmsg.ACLOperationDescribe
	case MayDescribeConfigs:
		return kmsg.ACLOperationDescribeConfigs
	case MayRead:
		return kmsg.ACLOperationRead
	default:
		return kmsg.ACLOperationWrite
	}
}

// missingACLs returns those of the grants that the brokers do not have. What they have beyond them,
// they keep: an operator may have reasons.
func missingACLs(ctx context.Context, client *kgo.Client, grants []Grant) ([]acl, error) {
	missing := acls(grants)
	for _, g := range grants {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
		req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAllow
		principal := "User:" + g.User
		req.Principal = &principal
		answer, err := req.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(answer.ErrorCode)
		}
		if errors.Is(err, kerr.SecurityDisabled) {
			return nil, fmt.Errorf("the brokers have no authorizer, so that nothing can be allowed: %w; set authorizer.class.name on the brokers, or leave out --ingest-user, --processor-user and --rebuild-user", err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ACLs of user %s: %w", g.User, err)
		}
		missing = slices.DeleteFunc(missing, func(a acl) bool { return a.user == g.User && a.in(answer) })
	}
	return missing, nil
}

func (a acl) in(answer *kmsg.DescribeACLsResponse) bool {
	for _, r := range answer.Resources {
		if r.ResourceType != a.resource.kmsg() || r.ResourceName != a.name || r.ResourcePatternType != a.pattern() {
			continue
		}
		for _, has := range r.ACLs {
			if has.Operation == a.operation.kmsg() && has.Host == "*" {
				return true
			}
		}
	}
	return false
}

func createACL(ctx context.Context, client *kgo.Client, a acl) error {
	creation := kmsg.NewCreateACLsRequestCreation()
	creation.ResourceType, creation.ResourceName, creation.ResourcePatternType = a.resource.kmsg(), a.name, a.pattern()
	creation.Principal, creation.Host = "User:"+a.user, "*"
	creation.Operation, creation.PermissionType = a.operation.kmsg(), kmsg.ACLPermissionTypeAllow
	req := kmsg.NewPtrCreateACLsRequest()
	req.Creations = append(req.Creations, creation)
	answer, err := req.RequestWith(ctx, client)
	if err == nil {
		for _, result := range answer.Results {
			err = kerr.ErrorForCode(result.ErrorCode)
		}
	}
	if err != nil {
		return fmt.Errorf("allowing user %s to %s: %w", a.user, a, err)
	}
	return nil
}

// CheckAccess asks the brokers whether this client is allowed all of access, and returns what it is
// not, as "Read on topic order.events", none if nothing. It changes nothing: a topic's rights come with
// its description, and for a group or a transactional id it makes a request that is refused whoever
// asks, for want of the right or for want of a member or producer of that name. A topic that does not
// exist is passed over. A prefixed name is checked as it is.
func CheckAccess(ctx context.Context, cfg ClientConfig, access []Access) ([]string, error) {
	if len(access) == 0 {
		return nil, nil
	}
	client, ctx, end, err := newStartClient(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer end()
	allowed, err := topicRights(ctx, client, access)
	if err != nil {
		return nil, cause(ctx, err)
	}
	var missing []string
	for _, a := range acls([]Grant{{Access: access}}) {
		ok := true
		switch a.resource {
		case TopicResource:
			rights, known := allowed[a.name]
			ok = !known || rights&(1<<a.operation.kmsg()) != 0
		case GroupResource:
			ok, err = mayUseGroup(ctx, client, a.name)
		case TransactionalResource:
			ok, err = mayUseTransactionalID(ctx, client, a.name)
		}
		if err != nil {
			return nil, cause(ctx, err)
		}
		if !ok {
			missing = append(missing, a.String())
		}
	}
	return missing, nil
}

// topicRights returns a bit per operation allowed, for the topics whose rights the brokers tell.
func topicRights(ctx context.Context, client *kgo.Client, access []Access) (map[string]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // nil would mean all
	req.IncludeTopicAuthorizedOperations = true
	for _, a := range access {
		if a.Resource == TopicResource {
			asked := kmsg.NewMetadataRequestTopic()
			asked.Topic = &a.Name
			req.Topics = append(req.Topics, asked)
		}
	}
	answer, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("reading what is allowed on topics: %w", err)
	}
	rights := map[string]int32{}
	for _, t := range answer.Topics {
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			rights[*t.Topic] = 0
		case err == nil && t.AuthorizedOperations != math.MinInt32: // which a broker of before Kafka 2.3 says
			rights[*t.Topic] = t.AuthorizedOperations
		}
	}
	return rights, nil
}

// nobody is a member and a producer that there never is.
const nobody = "ledgerline-start-check"

func mayUseGroup(ctx context.Context, client *kgo.Client, group string) (bool, error) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID = group, nobody
	answer, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	return mayUse(err, kerr.GroupAuthorizationFailed, "group "+group)
}

func mayUseTransactionalID(ctx context.Context, client *kgo.Client, id string) (bool, error) {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = id, math.MaxInt64, 0 // nobody's: nothing ends
	answer, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	return mayUse(err, kerr.TransactionalIDAuthorizationFailed, "transactional id "+id)
}

// mayUse tells want of a right from another answer, and an answer from none.
func mayUse(err, denied error, what string) (bool, error) {
	var answer *kerr.Error
	switch {
	case errors.Is(err, denied):
		return false, nil
	case err == nil, errors.As(err, &answer):
		return true, nil
	}
	return false, fmt.Errorf("asking for the right to use %s: %w", what, err)
}
