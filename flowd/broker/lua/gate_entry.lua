-- Prelude of the gate: a job comes to it, and is admitted or parked in its lane.
--
-- add_entry(gate)
--   gate.is_open(k) -> whether a job of these keys may go at once
--   gate.enter(ticket, k, fields, job, options) -> entry id · nil and job id · nil and error
--   gate.park(ticket, k, fields, job, options) -> job id, or an error
--   gate.room() -> how many entries may wait in the stream
--   gate.waiting_now() -> how many do
--
-- Options: `returned` if it was admitted before, `lock` if it has to wait for the end of
-- another job, `again` if its body is there already, `me` for the holder that it was until
-- now, `fresh` if its id is new.
local function add_entry(gate)
  local later, rules = gate.later, gate.rules
  local stream, bodies, parked, state = gate.stream, gate.bodies, gate.parked, gate.state
  local FEW = 16

  -- How many may wait in the stream. What is admitted cannot be overtaken any more, so
  -- where the order matters it is what idle workers have asked for.
  local wanted
  function gate.room()
    if not rules.s then return FEW end
    if not wanted then
      wanted = 0
      for _, each in ipairs(redis.call('HVALS', gate.want)) do wanted = wanted + each end
    end
    return wanted
  end

  -- How many entries no worker has taken yet. Those that the group will never get are none:
  -- they are before its beginning, or a client acknowledged them and did not delete them.
  function gate.waiting_now()
    if gate.waiting then return gate.waiting end
    local row = group_of(stream, gate.group)
    local last = row and row['last-delivered-id']
    local waiting = redis.call('XLEN', stream) - (row and row.pending or 0)
    if last == END then
      waiting = math.huge -- the queue is paused: none is taken, so none is admitted
    elseif waiting > 0 and last
      and not redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1] then
      waiting = 0
    end
    gate.waiting = math.max(0, waiting)
    return gate.waiting
  end

  local function next_number()
    gate.number = gate.number or tonumber(redis.call('HGET', state, 's') or 0)
    return gate.number + 1
  end

  local occupied = {}
  local function is_empty(lane)
    if occupied[lane] == nil then
      occupied[lane] = redis.call(
        'ZRANGEBYLEX', parked, '[' .. lane .. '\0', '(' .. lane .. '\1', 'LIMIT', 0, 1)[1] ~= nil
    end
    return not occupied[lane]
  end

  -- A server that refuses bodies refuses the first one of a script.
  local stored_one = false
  local function store(job, place, fields, options)
    local body = cmsgpack.pack(fields)
    if options.fresh and stored_one then
      later.put(bodies, job, body)
      return job
    end
    local stored = redis.pcall(options.again and 'HSET' or 'HSETNX', bodies, job, body)
    if type(stored) == 'table' then return stored end
    if stored == 0 and not options.again then -- a job of this id waits already: keep both
      job = job .. ':' .. place
      redis.call('HSET', bodies, job, body)
    end
    stored_one = true
    return job
  end

  -- In what order a lane is left: first what returns to it, then by number.
  function gate.park(ticket, k, fields, job, options)
    -- What is read comes first: it may fail, and then nothing is stored.
    local lane, number = gate.lane_of(k, options.lock), next_number()
    local is_new = is_empty(lane)
    if is_new then gate.last_turn_of(k.f) end
    local place = (options.returned and '0' or '1') .. string.format('%016.0f', number)
    fields[gate.ticket_at(fields)] = ticket .. ' s:' .. place
    job = store(job, place, fields, options)
    if type(job) == 'table' then return job end
    gate.stored, gate.number, gate.numbered = true, number, true
    if is_new then gate.ready(lane, k.f) end
    later.put(parked, lane .. '\0' .. place .. job, 0)
    occupied[lane] = true
    if k.u and not options.lock then gate.lock(k.u, '@' .. job, job) end
    return job
  end

  function gate.is_open(k)
    if not (k.c or k.r or k.f or k.p) then return true end
    return gate.waiting_now() < gate.room() and is_empty(gate.lane_of(k))
      and not gate.full(k.c) and gate.opens_at(k.r) == nil
  end

  function gate.enter(ticket, k, fields, job, options)
    if k.u and gate.holder(k.u, options.me) then
      options.lock = k.u
    elseif gate.is_open(k) then
      local id = redis.pcall('XADD', stream, '*', unpack(fields))
      if type(id) == 'table' then return nil, id end
      gate.stored = true
      gate.hold(id, ticket, k, job)
      return id
    end
    return nil, gate.park(ticket, k, fields, job, options)
  end
end
