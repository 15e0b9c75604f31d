-- Admit jobs of a queue with policies for a worker that is about to read.
--
-- KEYS  stream  delayed jobs  those of the gate
-- ARGV  group  consumer  how many it would take  ms that its read may wait  rules
-- Returns ms until a lane that waits for its rate may go, or -1.
--
-- One step, because a slot is taken by the very entry that is added. The read comes behind
-- it, in the same write: so the choice is made when a worker asks, and what is read does not
-- pass through a script.
local stream, bodies = KEYS[1], KEYS[2]
local group, consumer, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local wait = tonumber(ARGV[4])
-- Where neither turns nor time matter, a stream that holds enough is left alone: a settle has
-- admitted already.
local untaken = not ARGV[5]:find('[si]=') and count_untaken(stream, group)
if untaken and untaken >= math.max(count, 16) then return -1 end
local gate = open_gate(stream, group, bodies)
gate.waiting = untaken
if gate.any_ready() then
  refuse_as_replica(stream, group)
  gate.admit(count)
end
gate.close(true)
-- Where turns matter, no more is admitted than workers want that wait.
if gate.rules.s then
  local more = count - gate.waiting_now()
  -- A write that needs no room: behind it a server that is out of memory takes the other.
  redis.call('HDEL', gate.want, consumer)
  if wait > 0 and more > 0 then
    redis.call('HSET', gate.want, consumer, more)
    redis.call('PEXPIRE', gate.want, wait + 1000)
  end
end
return gate.next_due() or -1
