-- Prelude of every script that must not answer from a replica.
--
-- refuse_as_replica(stream, group)
--
-- A primary that became a replica answers from its own past. A write that changes nothing
-- makes it refuse. Once a script has written, Redis lets it have memory: it comes before
-- what only moves a job and behind what lets the server grow.
local function refuse_as_replica(stream, group)
  redis.call('XACK', stream, group, '0-0')
end
