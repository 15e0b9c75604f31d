-- Event feed: how many clients follow what happens in the queue.
--
-- ARGV  channel of the events
-- Returns it behind the rest.
--@ begin
local channel = table.remove(ARGV)
--@ reply
-- Without the right to ask, no client counts as listening.
reply[#reply + 1] = redis.pcall('PUBSUB', 'NUMSUB', channel)[2] or 0
