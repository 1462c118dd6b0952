package app

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/restapi"
)

// checkLimits refuses what would lock everybody out, or be taken for "not set".
func (c Config) checkLimits() error {
	for key, value := range map[string]int{
		"max_body": c.API.MaxBody, "max_requests": c.API.MaxRequests, "user_reads": c.API.UserReads, "user_changes": c.API.UserChanges,
		"max_commands": c.API.MaxCommands, "max_commands_of_user": c.API.MaxCommandsOfUser,
		"max_followers": c.API.MaxFollowers, "max_credentials": c.API.MaxCredentials,
	} {
		if value < 1 {
			return fmt.Errorf("api.%s is %d: it must be 1 or more", key, value)
		}
	}
	for key, value := range map[string]time.Duration{"header_timeout": c.API.HeaderTimeout, "request_timeout": c.API.RequestTimeout} {
		if value < time.Second {
			return fmt.Errorf("api.%s is %s: it must be 1s or more", key, value)
		}
	}
	return nil
}

// apiLimits are the API's part of the configuration.
func (c Config) apiLimits() restapi.Limits {
	return restapi.Limits{
		Body: int64(c.API.MaxBody), Requests: c.API.MaxRequests,
		Reads: float64(c.API.UserReads), Changes: float64(c.API.UserChanges),
		Queued: c.API.MaxCommands, QueuedOfUser: c.API.MaxCommandsOfUser,
		HeaderTimeout: c.API.HeaderTimeout, RequestTimeout: c.API.RequestTimeout,
		Streams: c.API.MaxFollowers, Verdicts: c.API.MaxCredentials,
	}
}
