-- Gate: let all through that a release with policies has parked, once none of it runs.
--
-- KEYS  those of the gate, policies
-- Returns how many jobs are still parked.
--
-- A worker with policies says so every minute at least. As long as one does, the gate is
-- its own.
--
-- Bounds: 100 jobs and 1 MB.
--@ begin
local gate_policies, gate_keys = table.remove(KEYS), {}
for n = 11, 1, -1 do gate_keys[n] = table.remove(KEYS) end
--@ reply
local gate_left = redis.call('ZCARD', gate_keys[2])
if redis.call('EXISTS', gate_policies) == 1 then
  gate_left = 0
else
  local moved = 0
  for _, row in ipairs(redis.call('ZRANGE', gate_keys[2], 0, 99)) do
    local job = row:match('^%Z*%z(.*)$'):sub(18)
    local body = redis.call('HGET', bodies, job)
    if body then
      local fields, own = cmsgpack.unpack(body), {}
      for f = 1, #fields, 2 do
        if fields[f] ~= '_gate' then
          own[#own + 1] = fields[f]
          own[#own + 1] = fields[f + 1]
        end
      end
      local added = redis.pcall('XADD', stream, '*', unpack(own))
      if type(added) == 'table' then break end
      redis.call('HDEL', bodies, job)
    end
    redis.call('ZREM', gate_keys[2], row)
    gate_left = gate_left - 1
    moved = moved + #(body or '')
    if moved > 1000000 then break end
  end
  if gate_left > 0 then
    reply[2] = 0
  else
    redis.call('UNLINK', unpack(gate_keys))
  end
end
reply[#reply + 1] = gate_left
