-- Prelude of the gate: parked jobs are admitted, from the lanes in their turn.
--
-- add_admission(gate)
--   gate.admit(most)  until so many entries wait in the stream
--
-- Bounds of one script: 50 jobs and 1 MB admitted, 200 lanes looked at.
local function add_admission(gate)
  local later, rules, state = gate.later, gate.rules, gate.state
  local stream, bodies, parked = gate.stream, gate.bodies, gate.parked
  local lanes, timed = gate.lanes, gate.timed
  local LEVEL, AT_ONCE = gate.LEVEL, 16
  local bytes, refused = 0, false

  -- What the next job of a lane lacks if it has a slot: the kind, the key, and when a rate
  -- allows it.
  local function lack(r, u)
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
      if rows then later.write(parked) end
      rows = redis.call('ZRANGEBYLEX', parked, '[' .. lane .. '\0', '(' .. lane .. '\1',
        'LIMIT', '0', later.text(count))
      if #rows < count then rows.all = true end
      rows_of[lane] = rows
    end
    return rows
  end

  -- Bodies are asked for at once: those of a lane, and of the lanes that are next.
  local body_of = {}
  local function fetch(lane, share, most)
    local jobs, count, line, n = {}, 0, gate.line, gate.head - 1
    most = math.min(most, AT_ONCE)
    while lane and count < most do
      local rows = next_rows(lane, share + 1)
      for row = 1, math.min(share, #rows) do
        count = count + 1
        jobs[count] = rows[row]:sub(#lane + 19)
      end
      n = n + 1
      lane = line[n] and line[n][1]
    end
    if not jobs[1] then return end
    local found = redis.call('HMGET', bodies, unpack(jobs))
    for n = 1, count do body_of[jobs[n]] = found[n] end
  end

  -- Add one to the stream. Its fields come as they are unpacked, since a table of them costs
  -- as much as half of the XADD; the ticket is the first.
  local function add(job, u, _, name, placed, ...)
    if name ~= '_gate' then -- an earlier version of flowd has parked it
      local fields = { name, placed, ... }
      local at = gate.ticket_at(fields)
      placed = table.remove(fields, at)
      table.remove(fields, at - 1)
      return add(job, u, _, '_gate', placed, unpack(fields))
    end
    local ticket = placed:sub(1, -21) -- without its place
    local k = gate.read(ticket)
    if rules.o then
      local opens = gate.opens_at(k.r)
      if opens ~= nil then return nil, 'r', k.r, opens end
    end
    local id = redis.pcall('XADD', stream, '*', name, ticket, ...)
    if type(id) == 'table' then
      refused = true
      return nil
    end
    later.drop(bodies, job)
    gate.hold(id, ticket, k, k.u and gate.id_of({ ... }, job))
    if u ~= '' and redis.call('HGET', state, 'l:' .. u) == job then
      redis.call('HDEL', state, 'l:' .. u)
    end
    return k
  end

  -- Admit one parked job. Returns its keys; or nil and what it lacks.
  local function admit_one(job, u)
    local body = body_of[job]
    if not body then return {} end -- another client deleted it
    bytes = bytes + #body
    local head = body:byte() < 160 and 1 or 3
    return add(job, u, cmsgpack.unpack_limit(body, 10000, head))
  end

  -- Where turns matter a lane gives one job, else as many as are wanted and may go.
  local function examine(lane, score, most)
    local c, r, u = lane:match('^(%S*) (%S*) %S* %S* (%S*)$')
    local at, left = score % LEVEL, most - gate.waiting
    local slots = c ~= '' and gate.slots_left(c) or math.huge
    local some = math.min(left, 50, math.max(1, slots))
    local share = some
    if rules.s or u ~= '' then some = 1 end
    if rules.s then -- what a lane gives in its turns of this script is asked for at once
      share = math.min(share, math.ceil(left / (#gate.line - gate.head + 2)))
    end
    local rows = next_rows(lane, share + 1)
    local gone, lacks, key, opens, k = 0, nil, nil, nil, nil
    while gone < some and rows[1] and bytes < 1000000 do
      if slots <= 0 then
        lacks, key = 'c', c
      else
        lacks, key, opens = lack(r, u)
      end
      if lacks then break end
      local job, found = rows[1]:sub(#lane + 19), nil
      if body_of[job] == nil then fetch(lane, some, left - gone) end
      found, lacks, key, opens = admit_one(job, u)
      if not found then break end
      later.drop(parked, table.remove(rows, 1))
      gone, k = gone + 1, found
    end
    if gone > 0 then
      gate.emptied, gate.turned = true, true
      gate.turn = math.max(gate.last_turn(), at)
      at = gate.turn + 1
    end
    if not rows[1] then
      later.drop(lanes, lane)
    elseif lacks then
      gate.block(lane, lacks, key, at)
      if lacks == 'r' then gate.wake_at(key, opens) end
    elseif gone >= slots then
      gate.block(lane, 'c', c, at)
    elseif gone > 0 then
      gate.ready(lane, k.f)
    end
    -- What woke this lane may not have been used up.
    if gone == 0 and slots > 0 and c ~= '' then gate.wake('c', c) end
    if lacks ~= 'r' and (r ~= '' or rules.o) then gate.wake_rate(k and k.r or r) end
    return gone > 0
  end

  -- At first as many as are likely to have a turn: of each that is read, a table is made.
  local function load_line()
    local changes, most = later.of(lanes), (rules.s or gate.line) and 50 or 8
    local found = redis.call('ZRANGE', lanes, '0', later.text(most - 1), 'WITHSCORES')
    local line, n = {}, 0
    for i = 1, #found, 2 do
      if changes[found[i]] == nil then
        n = n + 1
        line[n] = { found[i], tonumber(found[i + 1]) }
      end
    end
    gate.line, gate.head, gate.known = line, 1, tonumber(found[2 * most]) or math.huge
    for lane, score in pairs(changes) do
      if score then gate.stand(lane, score) end
    end
  end

  -- The lane of the oldest job, of those whose turn is next in their level.
  local function oldest_lane()
    later.write(lanes)
    gate.line, gate.head, gate.known = {}, 1, -1
    local oldest, place_of_oldest
    for level = 0, 3 do
      local found = redis.call(
        'ZRANGEBYSCORE', lanes, level * LEVEL, '(' .. string.format('%.0f', (level + 1) * LEVEL),
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
    while not gate.line or (gate.head > #gate.line and gate.known < math.huge) do
      if gate.line then later.write(lanes) end
      load_line()
    end
    gate.head = gate.head + 1
    return gate.line[gate.head - 1]
  end

  -- With levels, one start in eight is that of the oldest job.
  function gate.admit(most)
    if not rules.k then return end -- the caller does not know the limits
    if rules.i then
      for _, key in ipairs(redis.call(
        'ZRANGEBYSCORE', timed, '-inf', string.format('%.0f', gate.now), 'LIMIT', 0, 50)) do
        redis.call('ZREM', timed, key)
        gate.wake_rate(key)
      end
    end
    most = rules.s and most or math.max(most or 0, gate.room())
    later.write(parked)
    later.write(bodies)
    local starts = rules.p and tonumber(redis.call('HGET', state, 'a') or 0)
    local looks, from = 0, gate.admitted
    gate.waiting_now() -- counted once
    while looks < 200 and gate.admitted - from < 50 and bytes < 1000000 and not refused
      and gate.waiting < most do
      local lane = starts and starts % 8 == 7 and oldest_lane() or next_lane()
      if not lane then break end
      local gone = examine(lane[1], lane[2], most)
      if gone and starts then starts = starts + 1 end
      looks = looks + 1
    end
    if starts and gate.admitted > from then redis.call('HSET', state, 'a', starts) end
  end
end
