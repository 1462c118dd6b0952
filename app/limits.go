package app

import (
	"github.com/flowjet/flowjet/restapi"
)

// apiLimits are the API's part of the configuration.
func (c Config) apiLimits() restapi.Limits {
	return restapi.Limits{
		Body: int64(c.API.MaxBody), Requests: c.API.MaxRequests, Receiving: c.API.MaxReceiving,
		Reads: float64(c.API.UserReads), Changes: float64(c.API.UserChanges),
		Queued: c.API.MaxCommands, QueuedOfUser: c.API.MaxCommandsOfUser,
		HeaderTimeout: c.API.HeaderTimeout, RequestTimeout: c.API.RequestTimeout,
		Streams: c.API.MaxFollowers, StreamsOfUser: c.API.MaxFollowersOfUser, Verdicts: c.API.MaxCredentials,
	}
}
