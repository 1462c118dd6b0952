package sim

// zoneInfo is one.zone.info: one zone with its servers.
func zoneInfo(r *request) answer {
	if r.int(1) != 0 {
		return refusedAnswer(notFound("zone", r.int(1)))
	}
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "ZONE")
		number(b, "ID", 0)
		element(b, "NAME", "OpenNebula")
		number(b, "STATE", 0)
		template{single("ENDPOINT", r.server.zone.Endpoint()), single("ENDPOINT_GRPC", "localhost:2634")}.write(b, "TEMPLATE")
		open(b, "SERVER_POOL")
		if r.server.zone.raft.isZone() {
			for _, server := range r.server.zone.servers {
				open(b, "SERVER")
				cdata(b, "ENDPOINT", server.endpoint())
				cdata(b, "ENDPOINT_GRPC", "")
				cdata(b, "ID", itoa(server.index))
				cdata(b, "NAME", "server-"+itoa(server.index))
				shut(b, "SERVER")
			}
		}
		shut(b, "SERVER_POOL")
		shut(b, "ZONE")
	})
}

// zoneRaftStatus is one.zone.raftstatus, which each server answers for itself.
func zoneRaftStatus(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		status := r.server.zone.raft.status(r.server.index)
		applied := r.server.zone.db.replication.applied(r.server.index)
		open(b, "RAFT")
		number(b, "SERVER_ID", status.id)
		number(b, "STATE", int(status.state))
		number(b, "TERM", status.term)
		number(b, "VOTEDFOR", status.vote)
		number(b, "COMMIT", applied)
		number(b, "LOG_INDEX", applied)
		number(b, "LOG_TERM", status.term)
		number(b, "FEDLOG_INDEX", -1)
		shut(b, "RAFT")
	})
}
