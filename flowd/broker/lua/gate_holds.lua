-- Prelude of the gate: what admitted jobs hold, and what those that end or go away leave.
--
-- add_holds(gate)
--   gate.ticket_at(fields) -> where it is; nil without one
--   gate.id_of(fields, job) -> the job's own id
--   gate.hold(id, ticket, k, job)  an entry was admitted
--   gate.free(ids)                 entries have ended, or are gone
--   gate.forget(job, fields)       a delayed or parked job is taken away
--   gate.end_debounce(key, job)    the next job of the key waits anew
--   gate.write() · gate.close(pulled) · gate.finish(most)
local function add_holds(gate)
  local later, rules, state = gate.later, gate.rules, gate.state
  local holds, bodies, parked, want = gate.holds, gate.bodies, gate.parked, gate.want

  function gate.ticket_at(fields)
    for f = #fields - 1, 1, -2 do
      if fields[f] == '_gate' then return f + 1 end
    end
  end

  -- A suffix may have kept the job apart from another of the same id.
  function gate.id_of(fields, job)
    for f = 1, #fields, 2 do
      if fields[f] == '_id' then return fields[f + 1] end
    end
    return job
  end

  function gate.hold(id, ticket, k, job)
    later.put(holds, id, ticket)
    if k.c then gate.take(k.c, id) end
    if k.u then gate.lock(k.u, id, job) end
    if k.r then gate.pay(k.r, k.w) end
    gate.admitted = gate.admitted + 1
    if gate.waiting then gate.waiting = gate.waiting + 1 end
  end

  -- One without a ticket holds nothing, nor does one that has left what it held already.
  function gate.free(ids)
    local freed, keys, left = {}, {}, later.of(holds)
    local tickets = redis.call('HMGET', holds, unpack(ids))
    for n = 1, #ids do
      local k = tickets[n] and left[ids[n]] == nil and gate.read(tickets[n])
      freed[n] = k
      if k and k.u then keys[#keys + 1] = k.u end
    end
    if keys[1] then gate.know_locks(keys) end
    for n = 1, #ids do
      local id, k = ids[n], freed[n]
      if k then
        later.drop(holds, id)
        if k.c then
          gate.leave(k.c, id)
          gate.wake('c', k.c)
        end
        if k.u then gate.unlock(k.u, id) end
      end
    end
  end

  function gate.end_debounce(key, job)
    local said = key and redis.call('HGET', state, 'd:' .. key)
    if said and said:match('^%d+ (.*)$') == job then redis.call('HDEL', state, 'd:' .. key) end
  end

  -- Free what it holds, and take it out of its lane. Its body and its due time are the
  -- caller's to delete, in the same script.
  function gate.forget(job, fields)
    local at = gate.ticket_at(fields)
    if not at then return end
    local k = gate.read(fields[at])
    for _, lane in ipairs(k.s and gate.lanes_of(k) or {}) do
      later.drop(parked, lane .. '\0' .. k.s .. job)
    end
    gate.leave(k.c, '@' .. job)
    gate.wake('c', k.c)
    gate.unlock(k.u, '@' .. job)
    -- It may have been the one that was woken.
    if k.u and k.s and not gate.lock_text(k.u) then gate.wake('u', k.u) end
    if k.u and redis.call('HGET', state, 'l:' .. k.u) == job then
      redis.call('HDEL', state, 'l:' .. k.u)
    end
    gate.end_debounce(k.d, job)
    gate.emptied = true
  end

  -- Write what waits. A parked job has no other place once this script has taken it out of
  -- where it was, and what follows may fail: so that comes behind this.
  function gate.write()
    if gate.turned then later.put(state, 'v', string.format('%.0f', gate.turn)) end
    if gate.numbered then later.put(state, 's', string.format('%.0f', gate.number)) end
    gate.turned, gate.numbered = false, false
    -- If what is behind these cannot be written, the maintenance finds the lane.
    later.write(parked)
    later.write(bodies)
    later.write()
  end

  -- `pulled`: the worker that asked takes what was admitted; else it is what others want.
  function gate.close(pulled)
    gate.write()
    gate.settle_clocks()
    if rules.s and not pulled and gate.admitted > 0 then
      local found, used = redis.call('HGETALL', want), gate.admitted
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
    if rules.s and not rules.a then
      local past = redis.call(
        'ZRANGEBYSCORE', gate.turns, '-inf', gate.last_turn(), 'LIMIT', 0, 100)
      if past[1] then redis.call('ZREM', gate.turns, unpack(past)) end
    end
    if gate.emptied and redis.call('EXISTS', parked) == 0 then
      redis.call('HDEL', state, 's', 'v', 'a')
      redis.call('UNLINK', gate.lanes, gate.waits, gate.turns, gate.timed)
    end
  end

  -- The end of a script whose answer must not fail for what is admitted behind it: workers
  -- admit as well. What the script itself has changed must be written.
  function gate.finish(most)
    -- Where turns matter, no more is admitted than workers want that wait.
    local wanted = not rules.s or redis.call('EXISTS', want) == 1
    if wanted and gate.any_ready() then pcall(gate.admit, most) end
    gate.write()
    pcall(gate.close)
  end
end
