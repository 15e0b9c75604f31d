-- Prelude of the gate: the lanes of parked jobs, those that may go and those that wait.
--
-- add_lanes(gate)
--   gate.lane_of(k, lock) -> the lane of a job's keys; `lock` if it waits for the end of another
--   gate.lanes_of(k) -> those in which a job of these keys may be
--   gate.ready(lane, key, at)        it may go, at its next turn or at this one
--   gate.stand(lane, score)          it has its place in the line, if that is in memory
--   gate.block(lane, sign, key, at)  it waits under a key
--   gate.wake(sign, key)             what waits longest under the key may go
--   gate.wake_rate(key)              it may go now, or when the rate allows it
--   gate.wake_at(key, opens)         when the rate allows it; a script has to come for it
--   gate.find_lane(lane)             it may go if it is nowhere
--   gate.last_turn() · gate.last_turn_of(key) · gate.next_due() · gate.any_ready()
local function add_lanes(gate)
  local later, rules, state = gate.later, gate.rules, gate.state
  local parked, lanes, waits = gate.parked, gate.lanes, gate.waits
  local turns, timed = gate.turns, gate.timed

  gate.LEVEL = 1e13 -- turns of one level of priority

  -- With `ordered` what else a job has to wait for must not let the next one pass.
  local function joined(k, lock, ordered)
    local rest = ordered and '  ' or (k.r or '') .. ' ' .. (k.f or '') .. ' '
    return (k.c or '') .. ' ' .. rest .. (k.p or '') .. ' ' .. lock
  end

  function gate.lane_of(k, lock)
    if lock then return joined(k, lock, rules.o) end
    k.lane = k.lane or joined(k, '', rules.o)
    return k.lane
  end

  -- The lanes in which a job of these keys may be: all of them where the rules are not known.
  function gate.lanes_of(k)
    local found = {}
    for _, lock in ipairs({ '', k.u }) do
      if rules.o or not rules.k then found[#found + 1] = joined(k, lock, true) end
      if not rules.o then found[#found + 1] = joined(k, lock, false) end
    end
    return found
  end

  -- Lanes in the order of their turns: each with its score, all up to the score `known`.
  function gate.stand(lane, score)
    local line = gate.line
    if not line or score > gate.known then return end
    local place = #line
    while place >= gate.head and line[place][2] > score do place = place - 1 end
    table.insert(line, place + 1, { lane, score })
  end

  function gate.last_turn()
    if not gate.turn then gate.turn = tonumber(redis.call('HGET', state, 'v') or 0) end
    return gate.turn
  end

  local turn_of = {}
  function gate.last_turn_of(key)
    if not key then return gate.last_turn() end
    turn_of[key] = turn_of[key] or tonumber(redis.call('ZSCORE', turns, key) or 0)
    return turn_of[key]
  end

  -- A key with one lane has its last turn behind it when the lane comes again.
  function gate.ready(lane, key, at)
    if not at then
      at = gate.last_turn() + 1
      if key and not rules.a then
        at = math.max(at, gate.last_turn_of(key) + 1)
        turn_of[key] = at
        later.put(turns, key, at)
      end
    end
    local level = rules.p and tonumber(lane:match('^%S* %S* %S* (%S*)')) or 0
    local score = level * gate.LEVEL + at
    later.put(lanes, lane, score)
    gate.stand(lane, score)
  end

  -- What waits under a key: the first two rows, and whether there may be more.
  local rows_at, any_wait = {}, nil
  local function waiting_at(prefix)
    local rows = rows_at[prefix]
    if rows and (rows[1] or not rows.more) then return rows end
    if any_wait == nil then any_wait = redis.call('EXISTS', waits) == 1 end
    if rows then later.write(waits) end
    rows = any_wait and redis.call(
      'ZRANGEBYLEX', waits, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'LIMIT', '0', '2') or {}
    if rows[2] then rows.more = true end
    rows_at[prefix] = rows
    return rows
  end

  -- A job that was to run when a key is free may be delayed since, or cancelled; what that
  -- leaves of its lane must not use up the one wake.
  local function has_jobs(lane)
    later.write(parked)
    return redis.call(
      'ZRANGEBYLEX', parked, '[' .. lane .. '\0', '(' .. lane .. '\1', 'LIMIT', 0, 1)[1] ~= nil
  end

  -- The lanes that were woken and the only ones under their key: where they were.
  local row_of, place_of = {}, {}
  function gate.wake(sign, key)
    if not key then return end
    local prefix = sign .. ':' .. key
    local rows, row, lane
    repeat
      rows = waiting_at(prefix)
      row = table.remove(rows, 1)
      if not row then return end
      later.drop(waits, row)
      lane = row:sub(#prefix + 19)
    until sign ~= 'u' or has_jobs(lane)
    if rows.more or rows[1] then
      gate.ready(lane, nil, tonumber(row:sub(#prefix + 2, #prefix + 17)))
    else
      -- It has had no other one to wait for: it stands behind those that are ready now.
      row_of[lane], place_of[lane] = row, prefix
      gate.ready(lane, rules.s and lane:match('^%S* %S* (%S+)'))
    end
  end

  -- Whether a lane that was woken was the only one under the key, and still would be.
  local function is_alone(lane, prefix)
    if place_of[lane] ~= prefix then return false end
    local rows = rows_at[prefix]
    return not rows.more and not rows[1] and later.of(waits)[row_of[lane]] == false
  end

  function gate.block(lane, sign, key, at)
    local prefix, written = sign .. ':' .. key, not later.of(lanes)[lane]
    if is_alone(lane, prefix) and not written then -- it waits as before
      later.keep(lanes, lane)
      later.keep(waits, row_of[lane])
      rows_at[prefix][1] = row_of[lane]
      return
    end
    later.drop(lanes, lane)
    later.put(waits, prefix .. '\0' .. string.format('%016.0f', at) .. '\0' .. lane, '0')
    any_wait, rows_at[prefix] = true, { more = true }
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
    gate.ready(lane)
  end

  -- When a lane that waits for the rate of a key may go.
  function gate.wake_at(key, opens)
    if opens then redis.call('ZADD', timed, string.format('%.0f', opens), key) end
  end

  function gate.wake_rate(key)
    if not key or key == '' then return end
    local opens = gate.opens_at(key)
    if opens == nil then
      gate.wake('r', key)
    elseif waiting_at('r:' .. key)[1] then
      gate.wake_at(key, opens)
    end
  end

  -- Ms until a lane that waits for a rate may go; nil without one.
  function gate.next_due()
    local found = redis.call('ZRANGE', timed, 0, 0, 'WITHSCORES')[2]
    return found and math.max(0, math.ceil((found - gate.now) / 1000))
  end

  -- Whether a lane may go, or could by now.
  function gate.any_ready()
    return rules.i ~= nil or next(later.of(lanes)) ~= nil or redis.call('EXISTS', lanes) == 1
  end
end
