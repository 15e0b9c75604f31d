-- Prelude of the scripts of a queue with policies: which of its jobs may go next.
--
-- open_gate(stream, group, bodies) -> gate
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
-- A script frees, parks and lets enter first, admits then, and closes the gate last. What
-- it changes is written when it closes (`later`), but for the stream and bodies that are
-- stored: those may be refused.
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
  local later = writes_later({ [state] = true, [bodies] = true })
  local gate = {
    rules = rules, healed = 0, later = later, now_ms = math.floor(now / 1000),
    state = state, parked = parked, slots = slots, holds = holds, waits = waits,
    limits = limits,
  }
  local LEVEL, FEW = 1e13, 16
  local bytes, admitted, unparked, refused = 0, 0, false, false

  local function text(number) return string.format('%.0f', number) end

  function gate.first(set, prefix)
    return redis.call(
      'ZRANGEBYLEX', set, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'LIMIT', 0, 1)[1]
  end

  -- An id as a text that sorts as the stream sorts ids, and back.
  function gate.placed(id)
    local ms, seq = id:match('^(%d+)-(%d+)$')
    return string.char(64 + #ms) .. ms .. '-' .. string.char(64 + #seq) .. seq
  end
  function gate.entry_of(row) return (row:match('^%Z+'):gsub('%a', '')) end

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
  function gate.id_of(fields, job) return fields[gate.place_of('_id', fields)] or job end

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

  -- Slots are counted in Redis once for each key, and again after some were left.
  local taken, uncounted = {}, {}
  function gate.slots_left(key)
    local most = limit_of('c', key) or rules.n
    if not most then return math.huge end
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
    later.put(slots, key .. '\0' .. holder, 0)
    if taken[key] then taken[key] = taken[key] + 1 else uncounted[key] = true end
  end

  function gate.leave(key, holder)
    if not key then return end
    later.drop(slots, key .. '\0' .. holder)
    taken[key], uncounted[key] = nil, true
  end

  local paid, owing = {}, {}
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
  function gate.lives(holder)
    if holder:sub(1, 1) == '@' then
      return redis.call('HEXISTS', bodies, holder:sub(2)) == 1
    end
    local rows = redis.pcall('XPENDING', stream, group, holder, holder, 1)
    return (rows[1] or redis.call('XRANGE', stream, holder, holder)[1]) ~= nil
  end

  -- Holder and job of each key that was asked for; false without a lock.
  local locks = {}
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

  -- The job that runs after the one that has the lock, and its body; nil without one.
  function gate.behind(key)
    local job = redis.call('HGET', state, 'l:' .. key)
    local body = job and redis.call('HGET', bodies, job)
    if body then return job, body end
  end

  function gate.lock(key, holder, job)
    locks[key] = holder .. '\0' .. job
    later.put(state, 'u:' .. key, locks[key])
  end

  -- Lanes: those that may go, and those that wait.

  -- The next lanes in order, each with its score: all up to the score `known`.
  local line, known
  local function stand(lane, score)
    if not line or score > known then return end
    local place = #line
    while place > 0 and line[place][2] > score do place = place - 1 end
    table.insert(line, place + 1, { lane, score })
  end

  local turn, turned = nil, false
  local function last_turn()
    turn = turn or tonumber(redis.call('HGET', state, 'v') or 0)
    return turn
  end

  local turn_of = {}
  local function last_turn_of(key)
    if not key then return last_turn() end
    turn_of[key] = turn_of[key] or tonumber(redis.call('ZSCORE', turns, key) or 0)
    return turn_of[key]
  end

  local function ready(lane, key, at)
    if not at then
      at = last_turn() + 1
      if key then
        at = math.max(at, last_turn_of(key) + 1)
        turn_of[key] = at
        later.put(turns, key, text(at))
      end
    end
    local level = rules.p and tonumber(lane:match('^%S* %S* %S* (%S*)')) or 0
    later.put(lanes, lane, text(level * LEVEL + at))
    stand(lane, level * LEVEL + at)
  end

  local any_wait, changed = nil, {}
  local function first_waiting(prefix)
    if any_wait == nil then any_wait = redis.call('EXISTS', waits) == 1 end
    if changed[prefix] then
      later.write(waits)
      changed = {}
    end
    return any_wait and gate.first(waits, prefix)
  end

  function gate.wake(sign, key)
    if not key or key == '' then return end
    local prefix = sign .. ':' .. key
    local found = first_waiting(prefix)
    if not found then return end
    later.drop(waits, found)
    changed[prefix] = true
    ready(found:sub(#prefix + 19), nil, tonumber(found:sub(#prefix + 2, #prefix + 17)))
  end

  local function block(lane, sign, key, at)
    local prefix = sign .. ':' .. key
    later.drop(lanes, lane)
    later.put(waits, prefix .. '\0' .. string.format('%016.0f', at) .. '\0' .. lane, 0)
    any_wait, changed[prefix] = true, true
  end

  local function wake_at(key, opens)
    if opens then redis.call('ZADD', timed, text(opens), key) end
  end

  function gate.wake_rate(key)
    if not key or key == '' then return end
    local opens = gate.opens_at(key)
    if opens == nil then
      gate.wake('r', key)
    elseif first_waiting('r:' .. key) then
      wake_at(key, opens)
    end
  end

  -- Slots and locks of what is admitted, and of what ends.

  local waiting
  function gate.hold(id, ticket, k, job)
    later.put(holds, gate.placed(id) .. '\0' .. ticket, 0)
    gate.take(k.c, id)
    if k.u then gate.lock(k.u, id, job) end
    pay(k.r, k.w)
    admitted = admitted + 1
    waiting = waiting and waiting + 1
  end

  function gate.unlock(key, holder)
    if not key or gate.lock_of(key) ~= holder then return end
    locks[key] = false
    later.drop(state, 'u:' .. key)
    gate.wake('u', key)
  end

  -- Free what entries hold: they have ended, or are gone. One without a hold has nothing.
  -- Those that lie side by side are found at once.
  function gate.free(ids)
    local wanted, places = {}, {}
    for n, id in ipairs(ids) do
      places[n] = gate.placed(id)
      wanted[places[n]] = id
    end
    table.sort(places)
    local most = 2 * #ids
    local range = redis.call('ZRANGEBYLEX', holds, '[' .. places[1], '(' .. places[#ids] .. '\1',
      'LIMIT', 0, most)
    local freed, names = {}, {}
    local function found(row)
      local place, ticket = row:match('^(%Z+)%z(.*)$')
      if not wanted[place] then return end
      local k = gate.read(ticket)
      freed[#freed + 1] = { wanted[place], k }
      wanted[place] = nil
      if k.u and locks[k.u] == nil then names[#names + 1] = 'u:' .. k.u end
      later.drop(holds, row)
    end
    for _, row in ipairs(range) do found(row) end
    if range[most] then
      for place in pairs(wanted) do found(gate.first(holds, place) or '\0') end
    end
    if names[1] then
      for n, said in ipairs(redis.call('HMGET', state, unpack(names))) do
        locks[names[n]:sub(3)] = said
      end
    end
    for _, each in ipairs(freed) do
      local id, k = each[1], each[2]
      gate.leave(k.c, id)
      gate.wake('c', k.c)
      gate.unlock(k.u, id)
    end
  end

  function gate.end_debounce(key, job)
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
      if k.s then later.drop(parked, lane_of(k, lock) .. '\0' .. k.s .. job) end
    end
    gate.leave(k.c, '@' .. job)
    gate.wake('c', k.c)
    gate.unlock(k.u, '@' .. job)
    if k.u and redis.call('HGET', state, 'l:' .. k.u) == job then
      redis.call('HDEL', state, 'l:' .. k.u)
    end
    gate.end_debounce(k.d, job)
    unparked = true
  end

  -- How many admitted entries no worker has taken yet.
  local function waiting_now()
    if waiting then return waiting end
    local row = group_of(stream, group)
    local last = row and row['last-delivered-id']
    if last == END then
      waiting = math.huge -- the queue is paused: none is taken, so none is admitted
      return waiting
    end
    later.write(holds)
    waiting =
      redis.call('ZLEXCOUNT', holds, last and '(' .. gate.placed(last) .. '\1' or '-', '+')
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

  local last, numbered = nil, false
  local function last_number()
    last = last or tonumber(redis.call('HGET', state, 's') or 0)
    return last
  end

  local occupied = {}
  local function is_empty(lane) return not occupied[lane] and not gate.first(parked, lane) end

  -- In what order a lane is left: first what returns to it, then by number.
  function gate.park(ticket, k, fields, job, returned, lock, again)
    -- What is read comes first: it may fail, and then nothing is stored.
    local lane, number = lane_of(k, lock), last_number() + 1
    local is_new = is_empty(lane)
    if is_new then last_turn_of(k.f) end
    local place = (returned and '0' or '1') .. string.format('%016.0f', number)
    fields[gate.ticket_at(fields)] = ticket:gsub(' s:%S+', '') .. ' s:' .. place
    local body = cmsgpack.pack(fields)
    local stored = redis.pcall(again and 'HSET' or 'HSETNX', bodies, job, body)
    if type(stored) == 'table' then return stored end
    if stored == 0 and not again then -- a job of this id waits already: keep both
      job = job .. ':' .. place
      redis.call('HSET', bodies, job, body)
    end
    gate.stored, last, numbered = true, number, true
    if is_new then ready(lane, k.f) end
    later.put(parked, lane .. '\0' .. place .. job, 0)
    occupied[lane] = true
    if k.u and not lock then gate.lock(k.u, '@' .. job, job) end
    return job
  end

  -- Returns the entry's id and nil, or nil and the job's id; or an error. `me` is the
  -- holder that the job was until now.
  function gate.enter(ticket, k, fields, job, options)
    if k.u and gate.holder(k.u, options.me) then
      return nil, gate.park(ticket, k, fields, job, options.returned, k.u, options.again)
    end
    local free = not parks(k)
      or (waiting_now() < room() and is_empty(lane_of(k))
        and not gate.full(k.c) and gate.opens_at(k.r) == nil)
    if not free then
      if not options.named then
        fields[#fields + 1] = '_id'
        fields[#fields + 1] = job
        fields[#fields + 1] = '_at'
        fields[#fields + 1] = text(gate.now_ms)
      end
      return nil, gate.park(ticket, k, fields, job, options.returned, nil, options.again)
    end
    local id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'table' then return nil, id end
    gate.stored = true
    gate.hold(id, ticket, k, options.named and job or id)
    return id
  end

  -- Admission.

  -- What the next job of a lane lacks: its kind, its key, and when a rate allows it.
  local function lack(c, r, u)
    if c ~= '' and gate.full(c) then return 'c', c end
    if r ~= '' then
      local opens = gate.opens_at(r)
      if opens ~= nil then return 'r', r, opens end
    end
    if u ~= '' and gate.holder(u) then return 'u', u end
  end

  -- The next rows of a lane, as many at least or all.
  local rows_of = {}
  local function next_rows(lane, count)
    local rows = rows_of[lane]
    if not rows or (#rows < count and not rows.all) then
      if rows or occupied[lane] then later.write(parked) end
      rows = redis.call(
        'ZRANGEBYLEX', parked, '[' .. lane .. '\0', '(' .. lane .. '\1', 'LIMIT', 0, count)
      rows.all = #rows < count
      rows_of[lane] = rows
    end
    return rows
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
    if rules.o then opens = gate.opens_at(k.r) end
    if opens ~= nil then return nil, 'r', k.r, opens end
    local id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'table' then
      refused = true
      return nil
    end
    bytes = bytes + #body
    gate.hold(id, ticket, k, gate.id_of(fields, job))
    if u ~= '' and redis.call('HGET', state, 'l:' .. u) == job then
      redis.call('HDEL', state, 'l:' .. u)
    end
    return k
  end

  -- Where turns matter a lane gives one job, else as many as are wanted and may go.
  local function examine(lane, score, most)
    local c, r, _, _, u = lane:match('^(%S*) (%S*) (%S*) (%S*) (%S*)$')
    local at, left = score % LEVEL, most - waiting_now()
    local some = math.min(left, 50, c ~= '' and math.max(1, gate.slots_left(c)) or 50)
    -- What a lane gives in its turns of this script is asked for at once.
    local share = rules.s and math.min(some, math.ceil(left / (#line + 1))) or some
    local rows = next_rows(lane, share + 1)
    if rules.s or u ~= '' then some = 1 end
    local gone, lacks, key, opens, k = 0, nil, nil, nil, nil
    while gone < some and rows[1] and bytes < 1000000 do
      lacks, key, opens = lack(c, r, u)
      if lacks then break end
      local job, found = rows[1]:sub(#lane + 19), nil
      found, lacks, key, opens = admit_one(job, u)
      if not found then break end
      later.drop(bodies, job)
      later.drop(parked, table.remove(rows, 1))
      gone, k = gone + 1, found
    end
    if gone > 0 then
      unparked = true
      turn, turned = math.max(last_turn(), at), true
      at = at + 1
    end
    if not rows[1] then
      later.drop(lanes, lane)
    elseif lacks then
      block(lane, lacks, key, at)
      if lacks == 'r' then wake_at(key, opens) end
    elseif gone > 0 and c ~= '' and gate.full(c) then
      block(lane, 'c', c, at)
    elseif gone > 0 then
      ready(lane, k.f)
    end
    -- What woke this lane may not have been used up.
    if gone == 0 and lacks ~= 'c' and c ~= '' and not gate.full(c) then gate.wake('c', c) end
    if lacks ~= 'r' then gate.wake_rate(k and k.r or r) end
    return gone > 0
  end

  local function load_line()
    local changes, most = later.of(lanes), 50
    local found = redis.call('ZRANGE', lanes, 0, most - 1, 'WITHSCORES')
    line, known = {}, tonumber(found[2 * most]) or math.huge
    for i = 1, #found, 2 do
      if changes[found[i]] == nil then
        line[#line + 1] = { found[i], tonumber(found[i + 1]) }
      end
    end
    for lane, score in pairs(changes) do
      if score and tonumber(score) <= known then
        line[#line + 1] = { lane, tonumber(score) }
      end
    end
    table.sort(line, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  end

  -- The lane of the oldest job, of those whose turn is next in their level.
  local function oldest_lane()
    later.write(lanes)
    line, known = {}, -1
    local oldest, place_of_oldest
    for level = 0, 3 do
      local found = redis.call(
        'ZRANGEBYSCORE', lanes, text(level * LEVEL), '(' .. text((level + 1) * LEVEL),
        'WITHSCORES', 'LIMIT', 0, 1)
      local head = found[1] and next_rows(found[1], 2)[1]
      local place = head and head:sub(#found[1] + 3, #found[1] + 18) or ''
      if found[1] and (not oldest or place < place_of_oldest) then
        oldest, place_of_oldest = { found[1], tonumber(found[2]) }, place
      end
    end
    return oldest
  end

  local function next_lane()
    while not line or (not line[1] and known < math.huge) do
      if line then later.write(lanes) end
      load_line()
    end
    return table.remove(line, 1)
  end

  -- Admit from the lanes until so many wait in the stream. With levels, one start in
  -- eight is that of the oldest job.
  function gate.admit(most)
    if not rules.k then return end -- who asks does not know the limits
    if rules.i then
      for _, key in ipairs(
        redis.call('ZRANGEBYSCORE', timed, '-inf', text(now), 'LIMIT', 0, 50)) do
        redis.call('ZREM', timed, key)
        gate.wake_rate(key)
      end
    end
    most = most and math.max(most, rules.s and 0 or FEW) or room()
    local starts = rules.p and tonumber(redis.call('HGET', state, 'a') or 0)
    local looks, from = 0, admitted
    while looks < 200 and admitted - from < 100 and bytes < 1000000 and not refused
      and waiting_now() < most do
      local lane = starts and starts % 8 == 7 and oldest_lane() or next_lane()
      if not lane then break end
      local gone = examine(lane[1], lane[2], most)
      if gone and starts then starts = starts + 1 end
      looks = looks + 1
    end
    if starts and admitted > from then redis.call('HSET', state, 'a', starts) end
  end

  -- Ms until a lane that waits for a rate may go; nil without one.
  function gate.next_due()
    local found = redis.call('ZRANGE', timed, 0, 0, 'WITHSCORES')[2]
    return found and math.max(0, math.ceil((found - now) / 1000))
  end

  function gate.any_ready() return redis.call('EXISTS', lanes) == 1 end

  -- Write what waits. A parked job has no other place once this script has taken it out of
  -- where it was, and what follows may fail: so that comes behind this.
  function gate.write()
    if turned then later.put(state, 'v', text(turn)) end
    if numbered then later.put(state, 's', text(last)) end
    -- If what is behind these cannot be written, the maintenance finds the lane.
    later.write(parked)
    later.write(bodies)
    later.write()
  end

  -- The last thing that a script does with the gate. `pulled`: the worker that asked takes
  -- what was admitted; else it is what others want.
  function gate.close(pulled)
    gate.write()
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
      local past = redis.call('ZRANGEBYSCORE', turns, '-inf', text(last_turn()), 'LIMIT', 0, 100)
      if past[1] then redis.call('ZREM', turns, unpack(past)) end
    end
    if unparked and redis.call('EXISTS', parked) == 0 then
      redis.call('HDEL', state, 's', 'v', 'a')
      redis.call('UNLINK', lanes, waits, turns, timed)
    end
  end

  -- The end of a script that has kept its promise once all of its own is written. Whom else
  -- the gate lets in is seen to by its workers as well: an error there denies nothing.
  function gate.finish(most)
    gate.write()
    pcall(gate.admit, most)
    pcall(gate.close)
  end

  -- A lane of parked jobs that is in neither set stands still: what parked them failed
  -- between two writes. Of ordered ones with a rate the key is not known.
  function gate.find_lane(lane)
    if (rules.o and rules.i) or redis.call('ZSCORE', lanes, lane) then return end
    local c, r, _, _, u = lane:match('^(%S*) (%S*) (%S*) (%S*) (%S*)$')
    for sign, key in pairs({ c = c, r = r, u = u }) do
      local prefix = sign .. ':' .. key
      local rows = key ~= '' and redis.call('ZRANGEBYLEX', waits,
        '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'LIMIT', 0, 50) or {}
      for _, row in ipairs(rows) do
        if row:sub(#prefix + 19) == lane then return end
      end
      if rows[50] then return end -- it may be one of the others
    end
    ready(lane)
  end

  -- What a worker wants beyond what it finds, when it is about to wait so long for jobs;
  -- 0 ms: it does not wait.
  function gate.ask(consumer, count, ms)
    if not rules.s then return end
    local more = count - waiting_now()
    -- A write that needs no room: behind it a server that is out of memory takes the other.
    redis.call('HDEL', want, consumer)
    if ms > 0 and more > 0 then
      redis.call('HSET', want, consumer, more)
      redis.call('PEXPIRE', want, ms + 1000)
    end
  end

  return gate
end
