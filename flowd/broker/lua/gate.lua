-- Prelude of the scripts of a queue with policies: which of its jobs may go next.
--
-- open_gate(stream, group, bodies) -> gate
--
-- KEYS  state  parked  slots  holds  lanes  waits  turns  clocks  timed  limits  want
-- ARGV  rules (`Gate.rules`); both are removed from the end
--
--   state   hash   u:KEY the lock's holder and its job · l:KEY the job behind it, parked or
--                  delayed · d:KEY the debounced job and ms of the first · s the last number
--                  of a parked job · v the last turn · a how many jobs were admitted, where
--                  there are levels
--   parked  zset   LANE\0 returned or new, number, job: waits; its body is among the delayed
--   slots   zset   KEY\0HOLDER: a slot and who has it
--   holds   hash   an entry that was admitted and has not ended -> its ticket
--   lanes   zset   LANE -> its turn: lanes that may go
--   waits   zset   c:KEY\0turn\0LANE: lanes that wait for a slot; r: for a rate, u: for a lock
--   turns   zset   a fair key -> its last turn, where a key may have several lanes
--   clocks  zset   a rate's key -> when it has been paid for (microseconds)
--   timed   zset   a rate's key -> when a lane that waits for it may go
--   limits  hash   c:KEY or r:KEY -> the limit that an operator set
--   want    hash   a consumer that waits -> how many jobs it would take
--
-- A holder is an entry's id, or @ and the id of a job that is delayed or parked: it is
-- named, so a slot is freed once, and one whose holder is nowhere is found. A lane is the
-- jobs that have all keys in common. It is in `lanes`, or in `waits` under what it lacks.
-- What frees a slot wakes one lane; what a woken lane does not use wakes the next.
--
-- A script frees, parks and lets enter first, admits then, and closes the gate last:
-- `finish` does both. What it changes is written when it closes (`later`), but for the
-- stream and bodies that may be refused; `write` is for a script in which other writes
-- must come behind it.
--
-- Each `gate_*.lua` adds its functions to the gate, by which they call those of the others:
-- a lock that is freed wakes a lane, and a lane that wakes asks for the rate of its key. A
-- script makes all of its functions anew whenever it runs. So those that not every run
-- needs are made when the first of them is asked for: how jobs enter, and are admitted.
local function open_gate(stream, group, bodies)
  local keys = {}
  for n = 11, 1, -1 do keys[n] = table.remove(KEYS) end
  local rules = {}
  for name, value in table.remove(ARGV):gmatch('(%a)=(%S+)') do
    rules[name] = tonumber(value)
  end
  local t = redis.call('TIME')
  local now = t[1] * 1000000 + t[2]
  local gate = {
    stream = stream, group = group, bodies = bodies, rules = rules,
    now = now,
    state = keys[1], parked = keys[2], slots = keys[3], holds = keys[4], lanes = keys[5],
    waits = keys[6], turns = keys[7], clocks = keys[8], timed = keys[9], limits = keys[10],
    want = keys[11],
    later = writes_later({ [keys[1]] = true, [keys[4]] = true, [bodies] = true }),
    healed = 0, -- holders that were nowhere
    admitted = 0,
    -- What is not known yet is false: nil is looked for among what can be made.
    emptied = false, -- whether a job has left its lane
    waiting = false, -- entries that no worker has taken yet, once they are counted
    line = false, head = 1, known = 0, -- the next lanes in order, up to which score
    turn = false, number = false, -- the last ones, once they are read
    turned = false, numbered = false, -- whether they have changed since they were written
    stored = false, -- whether a job is, once it has come
  }
  add_needs(gate)
  add_lanes(gate)
  add_holds(gate)
  local makes = {
    enter = add_entry, park = add_entry, park_fields = add_entry, is_open = add_entry,
    room = add_entry, waiting_now = add_entry, admit = add_admission,
  }
  return setmetatable(gate, { __index = function(_, name)
    makes[name](gate)
    return gate[name]
  end })
end
