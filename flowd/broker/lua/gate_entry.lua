-- Prelude of the gate: a job comes to it, and is admitted or parked in its lane.
--
-- add_entry(gate)
--   gate.is_open(k) -> whether a job of these keys may go at once
--   gate.enter(ticket, k, fields, job, options) -> entry id · nil and job id · nil and error
--   gate.park(ticket, k, head, items, job, options) -> job id, or an error
--   gate.park_fields(ticket, k, fields, job, options) -> as `park`
--   gate.room() -> how many entries may wait in the stream
--   gate.waiting_now() -> how many do
--
-- `items` are names and values, packed one behind the other, without the ticket and the id;
-- `head` is what the array begins with of all of them. `fields` are a table of them.
--
-- Options: `id` if that is not what it waits under, `at` for when it was enqueued, packed, if
-- the items do not say it, `returned` if it was admitted before, `lock` if it has to wait for
-- the end of another job, `again` if its body is there already, `me` for the holder that it
-- was until now, `fresh` if its id is new.
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

  function gate.waiting_now()
    if not gate.waiting then gate.waiting = count_untaken(stream, gate.group) end
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
  local function store(job, place, body, options)
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

  -- In what order a lane is left: first what returns to it, then by number. The ticket comes
  -- first in the body, where it is read without what is behind it.
  function gate.park(ticket, k, head, items, job, options)
    -- What is read comes first: it may fail, and then nothing is stored.
    local lane, number = gate.lane_of(k, options.lock), next_number()
    local is_new = is_empty(lane)
    if is_new then gate.last_turn_of(not rules.a and k.f) end
    local place = string.format(options.returned and '0%016d' or '1%016d', number)
    local id = options.id or job
    local body = head .. '\165_gate' .. text_head(#ticket + 20) .. ticket .. ' s:' .. place
      .. '\163_id' .. text_head(#id) .. id .. (options.at or '') .. items
    job = store(job, place, body, options)
    if type(job) == 'table' then return job end
    gate.stored, gate.number, gate.numbered = true, number, true
    if is_new then gate.ready(lane, k.f) end
    later.put(parked, lane .. '\0' .. place .. job, '0')
    occupied[lane] = true
    if k.u and not options.lock then gate.lock(k.u, '@' .. job, job) end
    return job
  end

  local function array_head(count)
    if count < 16 then return string.char(144 + count) end
    return string.char(220, math.floor(count / 256), count % 256)
  end

  function gate.park_fields(ticket, k, fields, job, options)
    local own = {}
    for f = 1, #fields, 2 do
      if fields[f] == '_id' then
        options.id = fields[f + 1]
      elseif fields[f] ~= '_gate' then
        own[#own + 1] = fields[f]
        own[#own + 1] = fields[f + 1]
      end
    end
    local items = cmsgpack.pack(unpack(own))
    return gate.park(ticket, k, array_head(#own + 4), items, job, options)
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
    return nil, gate.park_fields(ticket, k, fields, job, options)
  end
end
