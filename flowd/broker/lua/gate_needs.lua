-- Prelude of the gate: what a job needs to go, a slot, a rate and a lock, and who has them.
--
-- add_needs(gate)
--   gate.read(ticket) -> the job's keys by their signs
--   gate.slots_left(key) · gate.full(key) · gate.take(key, holder) · gate.leave(key, holder)
--   gate.opens_at(key) · gate.pay(key, cost) · gate.settle_clocks()
--   gate.lives(holder) · gate.holder(key, me) · gate.lock_of(key) · gate.lock_text(key)
--   gate.lock(key, holder, job) · gate.unlock(key, holder)
--   gate.know_locks(keys)  who has them is asked for at once
local function add_needs(gate)
  local later, rules, now = gate.later, gate.rules, gate.now
  local state, slots, clocks, limits = gate.state, gate.slots, gate.clocks, gate.limits

  -- Jobs of the same keys have the same ticket.
  local known = {}
  function gate.read(ticket)
    local found = known[ticket]
    if not found then
      found = {}
      local last, _, sign, key = 0, nil, nil, nil
      while last and last < #ticket do
        _, last, sign, key = ticket:find('(%a):(%S+)', last + 1)
        if sign then found[sign] = key end
      end
      known[ticket] = found
    end
    return found
  end

  local overridden
  local function limit_of(sign, key)
    if overridden == nil then overridden = redis.call('HLEN', limits) > 0 end
    return overridden and tonumber(redis.call('HGET', limits, sign .. ':' .. key) or nil)
  end

  -- Slots are counted in Redis once for each key, and again after some were left.
  local taken, uncounted = {}, {}
  function gate.slots_left(key)
    local most = limit_of('c', key) or rules.n
    if not most then return math.huge end
    if rules.o then most = math.min(most, 1) end -- set before the queue was ordered
    if uncounted[key] then
      later.write(slots)
      uncounted = {}
    end
    taken[key] = taken[key]
      or redis.call('ZLEXCOUNT', slots, '[' .. key .. '\0', '(' .. key .. '\1')
    return most - taken[key]
  end

  function gate.full(key) return key and gate.slots_left(key) <= 0 end

  function gate.take(key, holder)
    if not key then return end
    later.put(slots, key .. '\0' .. holder, '0')
    if taken[key] then taken[key] = taken[key] + 1 else uncounted[key] = true end
  end

  function gate.leave(key, holder)
    if not key then return end
    later.drop(slots, key .. '\0' .. holder)
    taken[key], uncounted[key] = nil, true
  end

  local paid, owing = {}, false
  local function paid_until(key)
    paid[key] = paid[key] or tonumber(redis.call('ZSCORE', clocks, key) or 0)
    return paid[key]
  end

  -- When a job of the key may start; nil: now; false: its rate is 0.
  function gate.opens_at(key)
    if not key or not rules.i then return nil end
    local most = limit_of('r', key) or rules.q
    if most <= 0 then return false end
    local opens = paid_until(key) - (rules.b - 1) * rules.i * rules.q / most
    return opens > now and opens or nil
  end

  function gate.pay(key, cost)
    if not key or not rules.i then return end
    local most = limit_of('r', key) or rules.q
    if most <= 0 then return end
    local each = rules.i * rules.q / most
    local until_now = math.max(paid_until(key), now)
    paid[key] = math.min(until_now + each * (tonumber(cost) or 1), now + 1e15)
    later.put(clocks, key, string.format('%.0f', paid[key]))
    owing = math.max(owing or 0, paid[key])
  end

  -- Keep the clocks as long as one is ahead, and no key that is not.
  function gate.settle_clocks()
    if not owing then return end
    later.write(clocks)
    local past = redis.call(
      'ZRANGEBYSCORE', clocks, '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
    if past[1] then redis.call('ZREM', clocks, unpack(past)) end
    local left = math.ceil((owing - now) / 1000) + 1
    if redis.call('PTTL', clocks) < left then
      redis.call('PEXPIRE', clocks, string.format('%.0f', left))
    end
  end

  -- Up to where the group was delivered; false if it is paused, or not there.
  local delivered
  local function was_delivered(id)
    if delivered == nil then
      local row = group_of(gate.stream, gate.group)
      delivered = row and row['last-delivered-id'] ~= END and row['last-delivered-id'] or false
    end
    return delivered
      and not redis.call('XRANGE', gate.stream, '(' .. delivered, id, 'COUNT', 1)[1]
  end

  -- A holder that another client deleted, or acknowledged and left in the stream, is
  -- nowhere. A pending entry is not read: it may be large.
  function gate.lives(holder)
    if holder:sub(1, 1) == '@' then
      local job = holder:sub(2)
      local body = later.of(gate.bodies)[job]
      return body or (body == nil and redis.call('HEXISTS', gate.bodies, job) == 1)
    end
    local stream = gate.stream
    local rows = redis.pcall('XPENDING', stream, gate.group, holder, holder, 1)
    if rows[1] then return true end
    return redis.call('XRANGE', stream, holder, holder)[1] ~= nil and not was_delivered(holder)
  end

  -- Holder and job of each key that was asked for; false without a lock.
  local locks = {}
  function gate.know_locks(keys)
    local names, asked = {}, {}
    for _, key in ipairs(keys) do
      if locks[key] == nil then
        locks[key] = false
        names[#names + 1], asked[#asked + 1] = 'u:' .. key, key
      end
    end
    for from = 1, #names, 1000 do
      local some = redis.call('HMGET', state, unpack(names, from, math.min(from + 999, #names)))
      for n, said in ipairs(some) do locks[asked[from + n - 1]] = said end
    end
  end

  function gate.lock_text(key)
    if locks[key] == nil then locks[key] = redis.call('HGET', state, 'u:' .. key) end
    return locks[key]
  end

  function gate.lock_of(key)
    local said = gate.lock_text(key)
    if said then return said:match('^(%Z+)%z(.*)$') end
  end

  -- Who has the lock, if that is another one and lives; and the id of its job.
  function gate.holder(key, me)
    local holder, job = gate.lock_of(key)
    if not holder or holder == me then return end
    if gate.lives(holder) then return holder, job end
    gate.healed = gate.healed + 1
  end

  function gate.lock(key, holder, job)
    locks[key] = holder .. '\0' .. job
    later.put(state, 'u:' .. key, locks[key])
  end

  function gate.unlock(key, holder)
    if not key or gate.lock_of(key) ~= holder then return end
    locks[key] = false
    later.drop(state, 'u:' .. key)
    gate.wake('u', key)
  end
end
