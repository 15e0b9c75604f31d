-- Prelude of the scripts of a queue with policies: which of its jobs may go next.
--
-- open_gate(stream, group, bodies) -> functions
--
-- KEYS  state  parked  slots  holds  lanes  waits  turns  clocks  timed  limits  want
-- ARGV  rules (`Gate.rules`); both are removed from the end
--
--   state   hash   u:KEY the lock's holder and its job · l:KEY the job behind it · d:KEY the
--                  debounced job and ms of the first · s the last number of a parked job
--                  · v the last turn · a admissions of one level or another
--   parked  zset   LANE\0 returned or new, number, job: waits; its body is among the delayed
--   slots   zset   KEY\0HOLDER: a slot and who has it
--   holds   zset   ENTRY\0TICKET: what was admitted and has not ended; in the order of ids
--   lanes   zset   LANE -> its turn: lanes that may go
--   waits   zset   c:KEY\0turn\0LANE: lanes that wait for a slot, a rate or a lock
--   turns   zset   a fair key -> its last turn
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
-- Bounds of one script: 100 jobs and 1 MB admitted, 200 lanes looked at.
local function open_gate(stream, group, bodies)
  local keys = {}
  for n = 11, 1, -1 do keys[n] = table.remove(KEYS) end
  local state, parked, slots, holds, lanes, waits, turns, clocks, timed, limits, want =
    unpack(keys)
  local rules = {}
  for name, value in table.remove(ARGV):gmatch('(%a)=(%S+)') do
    rules[name] = tonumber(value)
  end
  local t = redis.call('TIME')
  local now = t[1] * 1000000 + t[2]
  local gate = { rules = rules, healed = 0 }
  local LEVEL, FEW = 1e13, 16
  local bytes, admitted, unparked, refused = 0, 0, false, false

  local function text(number) return string.format('%.0f', number) end

  local function first(set, prefix)
    return redis.call(
      'ZRANGEBYLEX', set, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'LIMIT', 0, 1)[1]
  end

  -- An id as a text that sorts as the stream sorts ids, and back.
  local function placed(id)
    local ms, seq = id:match('^(%d+)-(%d+)$')
    return string.char(64 + #ms) .. ms .. '-' .. string.char(64 + #seq) .. seq
  end
  local function entry_of(row) return (row:match('^%Z+'):gsub('%a', '')) end

  function gate.read(ticket)
    local found = {}
    for sign, key in ticket:gmatch('(%a):(%S+)') do found[sign] = key end
    return found
  end

  -- Where the value of a field is; nil without it.
  function gate.place_of(name, fields)
    for f = 1, #fields, 2 do
      if fields[f] == name then return f + 1 end
    end
  end

  function gate.ticket_at(fields) return gate.place_of('_gate', fields) end

  -- A job's own id, which a suffix may have kept apart from another of the same id.
  local function id_of(fields, job) return fields[gate.place_of('_id', fields)] or job end

  local function parks(k) return k.c or k.r or k.f or k.p end

  -- With `ordered` what else a job has to wait for must not let the next one pass.
  local function lane_of(k, lock)
    local rest = rules.o and '  ' or (k.r or '') .. ' ' .. (k.f or '') .. ' '
    return (k.c or '') .. ' ' .. rest .. (k.p or '') .. ' ' .. (lock or '')
  end

  -- What a job needs: a slot, a rate, a lock.

  local overridden
  local function limit_of(sign, key)
    if overridden == nil then overridden = redis.call('HLEN', limits) > 0 end
    return overridden and tonumber(redis.call('HGET', limits, sign .. ':' .. key) or nil)
  end

  -- What this script admitted is written at once.
  local new_holds, new_slots = {}, {}
  local function write_held()
    if new_holds[1] then redis.call('ZADD', holds, unpack(new_holds)) end
    if new_slots[1] then redis.call('ZADD', slots, unpack(new_slots)) end
    new_holds, new_slots = {}, {}
  end

  local taken = {}
  local function slots_left(key)
    local most = limit_of('c', key) or rules.n
    if not most then return math.huge end
    if not taken[key] then
      write_held()
      taken[key] =
        redis.call('ZLEXCOUNT', slots, '[' .. key .. '\0', '(' .. key .. '\1')
    end
    return most - taken[key]
  end

  local function full(key) return key and slots_left(key) <= 0 end

  local paid, owing = {}, {}
  local function paid_until(key)
    paid[key] = paid[key] or tonumber(redis.call('ZSCORE', clocks, key) or 0)
    return paid[key]
  end

  -- When a job of the key may start; nil: now; false: its rate is 0.
  local function opens_at(key)
    if not key or not rules.i then return nil end
    local most = limit_of('r', key) or rules.q
    if most <= 0 then return false end
    local opens = paid_until(key) - (rules.b - 1) * rules.i * rules.q / most
    return opens > now and opens or nil
  end

  local function pay(key, cost)
    if not key or not rules.i then return end
    local most = limit_of('r', key) or rules.q
    if most <= 0 then return end
    local each = rules.i * rules.q / most
    local until_now = math.max(paid_until(key), now)
    paid[key] = math.min(until_now + each * (tonumber(cost) or 1), now + 1e15)
    owing[key] = true
  end

  local function settle_clocks()
    local latest = 0
    for key in pairs(owing) do
      redis.call('ZADD', clocks, text(paid[key]), key)
      latest = math.max(latest, paid[key])
    end
    if latest == 0 then return end
    for _, past in ipairs(
      redis.call('ZRANGEBYSCORE', clocks, '-inf', text(now), 'LIMIT', 0, 100)) do
      redis.call('ZREM', clocks, past)
    end
    local left = math.ceil((latest - now) / 1000) + 1
    if redis.call('PTTL', clocks) < left then redis.call('PEXPIRE', clocks, text(left)) end
  end

  -- A holder that another client deleted is nowhere. A pending entry is not read: it may
  -- be large.
  local function lives(holder)
    if holder:sub(1, 1) == '@' then
      return redis.call('HEXISTS', bodies, holder:sub(2)) == 1
    end
    local rows = redis.pcall('XPENDING', stream, group, holder, holder, 1)
    return (rows[1] or redis.call('XRANGE', stream, holder, holder)[1]) ~= nil
  end

  local function lock_of(key)
    local said = redis.call('HGET', state, 'u:' .. key)
    if said then return said:match('^(%Z+)%z(.*)$') end
  end

  -- Who has the lock, if that is another one and lives; and the id of its job.
  function gate.holder(key, me)
    local holder, job = lock_of(key)
    if not holder or holder == me then return end
    if lives(holder) then return holder, job end
    gate.healed = gate.healed + 1
  end

  -- The job that runs after the one that has the lock, and its body; nil without one.
  function gate.behind(key)
    local job = redis.call('HGET', state, 'l:' .. key)
    local body = job and redis.call('HGET', bodies, job)
    if body then return job, body end
  end

  function gate.lock(key, holder, job)
    redis.call('HSET', state, 'u:' .. key, holder .. '\0' .. job)
  end

  -- Lanes: those that may go, and those that wait.

  local turn, turned = nil, false
  local function last_turn()
    turn = turn or tonumber(redis.call('HGET', state, 'v') or 0)
    return turn
  end

  local function ready(lane, key, at)
    if not at then
      at = last_turn() + 1
      if key then
        at = math.max(at, tonumber(redis.call('ZSCORE', turns, key) or 0) + 1)
        redis.call('ZADD', turns, text(at), key)
      end
    end
    local level = tonumber(lane:match('^%S* %S* %S* (%S*)')) or 0
    redis.call('ZADD', lanes, text(level * LEVEL + at), lane)
  end

  local function wake(sign, key)
    if not key or key == '' then return end
    local prefix = sign .. ':' .. key
    local found = first(waits, prefix)
    if not found then return end
    redis.call('ZREM', waits, found)
    ready(found:sub(#prefix + 19), nil, tonumber(found:sub(#prefix + 2, #prefix + 17)))
  end

  local function block(lane, sign, key, at)
    redis.call('ZREM', lanes, lane)
    redis.call(
      'ZADD', waits, 0, sign .. ':' .. key .. '\0' .. string.format('%016.0f', at) .. '\0' .. lane)
  end

  local function wake_at(key, opens)
    if opens then redis.call('ZADD', timed, text(opens), key) end
  end

  local function wake_rate(key)
    if not key or key == '' then return end
    local opens = opens_at(key)
    if opens == nil then
      wake('r', key)
    elseif first(waits, 'r:' .. key) then
      wake_at(key, opens)
    end
  end

  -- Slots and locks of what is admitted, and of what ends.

  local function hold(id, ticket, k, job)
    new_holds[#new_holds + 1] = 0
    new_holds[#new_holds + 1] = placed(id) .. '\0' .. ticket
    if k.c then
      new_slots[#new_slots + 1] = 0
      new_slots[#new_slots + 1] = k.c .. '\0' .. id
      taken[k.c] = taken[k.c] and taken[k.c] + 1
    end
    if k.u then gate.lock(k.u, id, job) end
    pay(k.r, k.w)
    admitted = admitted + 1
  end

  -- Returns whether the holder had a slot of the key.
  local function leave(key, holder)
    if not key or redis.call('ZREM', slots, key .. '\0' .. holder) == 0 then return false end
    taken[key] = nil
    return true
  end

  local function unlock(key, holder)
    if not key or lock_of(key) ~= holder then return end
    redis.call('HDEL', state, 'u:' .. key)
    wake('u', key)
  end

  local function free(row)
    local id, k = entry_of(row), gate.read(row:match('^%Z+%z(.*)$'))
    leave(k.c, id)
    wake('c', k.c)
    unlock(k.u, id)
  end

  -- Free what entries hold: they have ended, or are gone. One without a hold has nothing.
  -- Those that lie side by side are found at once.
  function gate.free(ids)
    local wanted, places, rows = {}, {}, {}
    for n, id in ipairs(ids) do
      places[n] = placed(id)
      wanted[places[n]] = true
    end
    table.sort(places)
    local most = 2 * #ids
    local range = redis.call('ZRANGEBYLEX', holds, '[' .. places[1], '(' .. places[#ids] .. '\1',
      'LIMIT', 0, most)
    for _, row in ipairs(range) do
      local place = row:match('^%Z+')
      if wanted[place] then
        rows[#rows + 1] = row
        wanted[place] = nil
      end
    end
    if range[most] then
      for place in pairs(wanted) do rows[#rows + 1] = first(holds, place) end
    end
    if not rows[1] then return end
    redis.call('ZREM', holds, unpack(rows))
    for _, row in ipairs(rows) do free(row) end
  end

  local function end_debounce(key, job)
    local said = key and redis.call('HGET', state, 'd:' .. key)
    if said and said:match('^%d+ (.*)$') == job then redis.call('HDEL', state, 'd:' .. key) end
  end

  -- Free what a delayed or parked job holds, and take it out of its lane. Its body and its
  -- due time are the caller's to delete, in the same script.
  function gate.forget(job, fields)
    local at = gate.ticket_at(fields)
    if not at then return end
    local k = gate.read(fields[at])
    for _, lock in ipairs({ '', k.u }) do
      if k.s then redis.call('ZREM', parked, lane_of(k, lock) .. '\0' .. k.s .. job) end
    end
    if leave(k.c, '@' .. job) then wake('c', k.c) end
    unlock(k.u, '@' .. job)
    if k.u and redis.call('HGET', state, 'l:' .. k.u) == job then
      redis.call('HDEL', state, 'l:' .. k.u)
    end
    end_debounce(k.d, job)
    unparked = true
  end

  -- How many admitted entries no worker has taken yet.
  local waiting
  local function waiting_now()
    if waiting then return waiting end
    write_held()
    local row = group_of(stream, group)
    local last = row and row['last-delivered-id']
    if last == END then
      waiting = math.huge -- the queue is paused: none is taken, so none is admitted
      return waiting
    end
    waiting = redis.call('ZLEXCOUNT', holds, last and '(' .. placed(last) .. '\1' or '-', '+')
    return waiting
  end

  -- How many may wait in the stream. What is admitted cannot be overtaken any more, so
  -- where the order matters it is what idle workers have asked for.
  local wanted
  local function room()
    if not rules.s then return FEW end
    if not wanted then
      wanted = 0
      for _, each in ipairs(redis.call('HVALS', want)) do wanted = wanted + each end
    end
    return wanted
  end

  -- A job comes to the gate: it is admitted, or parked in its lane.

  local numbered
  local function number()
    numbered = (numbered or tonumber(redis.call('HGET', state, 's') or 0)) + 1
    return numbered
  end

  local occupied = {}
  local function is_empty(lane)
    if occupied[lane] then return false end
    return not first(parked, lane)
  end

  -- In what order a lane is left: first what returns to it, then by number.
  local function park(ticket, k, fields, job, returned, lock, again)
    local place = (returned and '0' or '1') .. string.format('%016.0f', number())
    fields[gate.ticket_at(fields)] = ticket:gsub(' s:%S+', '') .. ' s:' .. place
    local body = cmsgpack.pack(fields)
    local stored = redis.pcall(again and 'HSET' or 'HSETNX', bodies, job, body)
    if type(stored) == 'table' then return stored end
    if stored == 0 and not again then -- a job of this id waits already: keep both
      job = job .. ':' .. place
      redis.call('HSET', bodies, job, body)
    end
    local lane = lane_of(k, lock)
    local is_new = is_empty(lane)
    redis.call('ZADD', parked, 0, lane .. '\0' .. place .. job)
    occupied[lane] = true
    if is_new then ready(lane, k.f) end
    if k.u and not lock then gate.lock(k.u, '@' .. job, job) end
    return job
  end

  -- Returns the entry's id and nil, or nil and the job's id; or an error. `me` is the
  -- holder that the job was until now.
  function gate.enter(ticket, k, fields, job, options)
    if k.u and gate.holder(k.u, options.me) then
      return nil, park(ticket, k, fields, job, options.returned, k.u, options.again)
    end
    local free = not parks(k)
      or (waiting_now() < room() and is_empty(lane_of(k))
        and not full(k.c) and opens_at(k.r) == nil)
    if not free then
      if not options.named then
        fields[#fields + 1] = '_id'
        fields[#fields + 1] = job
        fields[#fields + 1] = '_at'
        fields[#fields + 1] = text(math.floor(now / 1000))
      end
      return nil, park(ticket, k, fields, job, options.returned, nil, options.again)
    end
    local id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'table' then return nil, id end
    hold(id, ticket, k, options.named and job or id)
    if waiting then waiting = waiting + 1 end
    return id
  end

  -- Admission.

  -- What the next job of a lane lacks: its kind, its key, and when a rate allows it.
  local function lack(c, r, u)
    if c ~= '' and full(c) then return 'c', c end
    if r ~= '' then
      local opens = opens_at(r)
      if opens ~= nil then return 'r', r, opens end
    end
    if u ~= '' and gate.holder(u) then return 'u', u end
  end

  -- Admit one parked job. Returns its keys; or nil and what it lacks.
  local function admit_one(job, u)
    local body = redis.call('HGET', bodies, job)
    if not body then return {} end -- another client deleted it
    local fields = cmsgpack.unpack(body)
    local at = gate.ticket_at(fields)
    local ticket = fields[at]:gsub(' s:%S+', '')
    fields[at] = ticket
    local k = gate.read(ticket)
    local opens
    if rules.o then opens = opens_at(k.r) end
    if opens ~= nil then return nil, 'r', k.r, opens end
    local id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'table' then
      refused = true
      return nil
    end
    bytes = bytes + #body
    waiting = waiting_now() + 1
    hold(id, ticket, k, id_of(fields, job))
    if u ~= '' and redis.call('HGET', state, 'l:' .. u) == job then
      redis.call('HDEL', state, 'l:' .. u)
    end
    return k
  end

  -- Where turns matter a lane gives one job, else as many as are wanted and may go.
  local function examine(lane, score, most)
    local c, r, _, _, u = lane:match('^(%S*) (%S*) (%S*) (%S*) (%S*)$')
    local at = score % LEVEL
    most = (rules.s or u ~= '') and 1 or math.min(most - waiting_now(), 50)
    local heads = redis.call(
      'ZRANGEBYLEX', parked, '[' .. lane .. '\0', '(' .. lane .. '\1', 'LIMIT', 0, most + 1)
    local jobs, lacks, key, opens, k = {}, nil, nil, nil, nil
    while #jobs < most and heads[#jobs + 1] and bytes < 1000000 do
      lacks, key, opens = lack(c, r, u)
      if lacks then break end
      local job, found = heads[#jobs + 1]:sub(#lane + 19), nil
      found, lacks, key, opens = admit_one(job, u)
      if not found then break end
      jobs[#jobs + 1] = job
      k = found
    end
    if jobs[1] then
      redis.call('HDEL', bodies, unpack(jobs))
      redis.call('ZREM', parked, unpack(heads, 1, #jobs))
      unparked = true
      turn, turned = math.max(last_turn(), at), true
      at = at + 1
      if rules.p then redis.call('HINCRBY', state, 'a', 1) end
    end
    if not heads[#jobs + 1] then
      redis.call('ZREM', lanes, lane)
    elseif lacks then
      block(lane, lacks, key, at)
      if lacks == 'r' then wake_at(key, opens) end
    elseif jobs[1] and c ~= '' and full(c) then
      block(lane, 'c', c, at)
    elseif jobs[1] then
      ready(lane, k.f)
    end
    -- What woke this lane may not have been used up.
    if not jobs[1] and lacks ~= 'c' and c ~= '' and not full(c) then wake('c', c) end
    if lacks ~= 'r' then wake_rate(k and k.r or r) end
  end

  -- The lane whose turn it is. With levels, one in eight is that of the oldest job.
  local function next_lane()
    if rules.p and tonumber(redis.call('HGET', state, 'a') or 0) % 8 == 7 then
      local oldest, lane, score
      for level = 0, 3 do
        local found = redis.call(
          'ZRANGEBYSCORE', lanes, text(level * LEVEL), '(' .. text((level + 1) * LEVEL),
          'WITHSCORES', 'LIMIT', 0, 1)
        local head = found[1] and first(parked, found[1])
        local place = head and head:sub(#found[1] + 3, #found[1] + 18)
        if found[1] and (not oldest or (place or '') < oldest) then
          oldest, lane, score = place or '', found[1], found[2]
        end
      end
      return lane, tonumber(score)
    end
    local found = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
    return found[1], tonumber(found[2])
  end

  -- Admit from the lanes until so many wait in the stream.
  function gate.admit(most)
    if not rules.k then return end -- who asks does not know the limits
    if rules.i then
      for _, key in ipairs(
        redis.call('ZRANGEBYSCORE', timed, '-inf', text(now), 'LIMIT', 0, 50)) do
        redis.call('ZREM', timed, key)
        wake_rate(key)
      end
    end
    most = most and math.max(most, rules.s and 0 or FEW) or room()
    local looks, from = 0, admitted
    while looks < 200 and admitted - from < 100 and bytes < 1000000 and not refused do
      local lane, score = next_lane()
      if not lane or waiting_now() >= most then break end
      examine(lane, score, most)
      looks = looks + 1
    end
  end

  -- Ms until a lane that waits for a rate may go; nil without one.
  function gate.next_due()
    local found = redis.call('ZRANGE', timed, 0, 0, 'WITHSCORES')[2]
    return found and math.max(0, math.ceil((found - now) / 1000))
  end

  function gate.any_ready() return redis.call('EXISTS', lanes) == 1 end

  -- The last thing that a script does with the gate. `pulled`: the worker that asked takes
  -- what was admitted; else it is what others want.
  function gate.close(pulled)
    write_held()
    if turned then redis.call('HSET', state, 'v', text(turn)) end
    if numbered then redis.call('HSET', state, 's', text(numbered)) end
    settle_clocks()
    if rules.s and not pulled and admitted > 0 then
      local found, used = redis.call('HGETALL', want), admitted
      for i = 1, #found, 2 do
        local less = math.min(used, tonumber(found[i + 1]))
        used = used - less
        if less == tonumber(found[i + 1]) then
          redis.call('HDEL', want, found[i])
        elseif less > 0 then
          redis.call('HINCRBY', want, found[i], -less)
        end
      end
    end
    if rules.s then
      for _, past in ipairs(
        redis.call('ZRANGEBYSCORE', turns, '-inf', text(last_turn()), 'LIMIT', 0, 4)) do
        redis.call('ZREM', turns, past)
      end
    end
    if unparked and redis.call('EXISTS', parked) == 0 then
      redis.call('HDEL', state, 's', 'v', 'a')
      redis.call('UNLINK', lanes, waits, turns, timed)
    end
  end

  -- What a worker wants beyond what it finds, when it is about to wait so long for jobs;
  -- 0 ms: it does not wait.
  function gate.ask(consumer, count, ms)
    if not rules.s then return end
    local more = count - waiting_now()
    if ms > 0 and more > 0 then
      redis.call('HSET', want, consumer, more)
      redis.call('PEXPIRE', want, ms + 1000)
    else
      redis.call('HDEL', want, consumer)
    end
  end

  -- What becomes of an entry that is put back.
  function gate.requeue(id, fields, delay, job, delayed)
    local ticket = fields[gate.ticket_at(fields)]
    local k = gate.read(ticket)
    local mine = first(holds, placed(id))
    if delay == 0 and not mine then
      local new, rest = gate.enter(ticket, k, fields, job, { named = true, me = id })
      return new or (type(rest) == 'table' and rest) or 1
    end
    if delay == 0 then
      local new = redis.pcall('XADD', stream, '*', unpack(fields))
      if type(new) == 'table' then return new end
      redis.call('ZREM', holds, mine)
      leave(k.c, id)
      hold(new, ticket, k, job)
      return new
    end
    local name, body = job, cmsgpack.pack(fields)
    local stored = redis.pcall('HSETNX', bodies, name, body)
    if stored == 0 then
      name = job .. ':' .. id
      stored = redis.pcall('HSET', bodies, name, body)
    end
    if type(stored) == 'table' then return stored end
    local due = math.floor(now / 1000) + delay
    local added = redis.pcall('ZADD', delayed, text(due), name)
    if type(added) == 'table' then
      redis.pcall('HDEL', bodies, name)
      return added
    end
    if mine then
      redis.call('ZREM', holds, mine)
      leave(k.c, id)
      if k.c and rules.o then
        redis.call('ZADD', slots, 0, k.c .. '\0@' .. name)
      else
        wake('c', k.c)
      end
      if k.u then gate.lock(k.u, '@' .. name, job) end
    end
    return added
  end

  -- A delayed job is due. Returns what `enter` does; a job without a ticket is admitted when
  -- it is read.
  function gate.promote(job, fields)
    local at = gate.ticket_at(fields)
    if not at then return redis.pcall('XADD', stream, '*', unpack(fields)) end
    local ticket = fields[at]
    local k = gate.read(ticket)
    leave(k.c, '@' .. job)
    end_debounce(k.d, job)
    local name = id_of(fields, job)
    local id, rest = gate.enter(ticket, k, fields, job,
      { named = true, me = '@' .. job, returned = true, again = true })
    if id and k.u then gate.lock(k.u, id, name) end
    wake('c', k.c)
    return id, rest
  end

  -- Look at some holders, from anywhere on, and free what is held by nothing.
  function gate.heal()
    local function pass(set, look)
      local many = redis.call('ZCARD', set) > 50
      local from = many and '[' .. redis.call('ZRANDMEMBER', set) or '-'
      for _, row in ipairs(redis.call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, 50)) do
        look(row)
      end
    end
    pass(holds, function(row)
      local id = entry_of(row)
      if not lives(id) then
        gate.free({ id })
        gate.healed = gate.healed + 1
      end
    end)
    pass(slots, function(row)
      local key, holder = row:match('^(%Z+)%z(.*)$')
      if not lives(holder) then
        leave(key, holder)
        wake('c', key)
        gate.healed = gate.healed + 1
      end
    end)
    -- Whatever left a lane waiting for a slot that is free: a limit of another release.
    pass(waits, function(row)
      local sign, key = row:match('^(%a):(%Z+)')
      if sign == 'c' and not full(key) then wake('c', key) end
      if sign == 'r' then wake_rate(key) end
      if sign == 'u' and not gate.holder(key) then wake('u', key) end
    end)
    if redis.call('EXISTS', state) == 0 then return end
    for _, field in ipairs(redis.call('HRANDFIELD', state, 20)) do
      local key = field:match('^u:(.*)$')
      local holder = key and lock_of(key)
      if holder and not lives(holder) then
        unlock(key, holder)
        gate.healed = gate.healed + 1
      end
    end
  end

  -- Wake what a key has room for now, at once: its limit was changed.
  function gate.reopen(sign, key)
    if sign == 'r' then
      redis.call('ZREM', timed, key)
      return wake_rate(key)
    end
    for _ = 1, math.min(100, slots_left(key)) do wake(sign, key) end
  end

  -- Ms until a job of a rate's key may start; nil: now, or never.
  function gate.due_of(key)
    local opens = opens_at(key)
    return opens and math.ceil((opens - now) / 1000) or nil
  end

  gate.state, gate.parked, gate.limits, gate.waits = state, parked, limits, waits
  gate.slots, gate.park = slots, park
  return gate
end
