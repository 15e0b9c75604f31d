-- Prelude of the gate: how many entries of its stream no worker has taken yet.
--
-- count_untaken(stream, group) -> so many; endless while the queue is paused
--
-- Entries that the group will never get are none: they are before its beginning, or a client
-- acknowledged them and did not delete them.
local function count_untaken(stream, group)
  local row = group_of(stream, group)
  local last = row and row['last-delivered-id']
  if last == END then return math.huge end -- none is taken, so none is to be admitted
  local untaken = redis.call('XLEN', stream) - (row and row.pending or 0)
  if untaken > 0 and last and not redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1] then
    return 0
  end
  return math.max(0, untaken)
end
