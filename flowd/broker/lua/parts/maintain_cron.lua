-- Cron: the server's clock for the ticks, and a sign of life of the schedules' release.
--
-- KEYS  cron
-- ARGV  digest of the worker's schedules
-- Returns ms of the server's clock; 0 if other schedules are registered, negative if
--   those may be replaced: none are, or no worker of theirs was seen for long.
--
-- In the same step as a promotion, because a retry that is promoted has a new entry, by
-- which a schedule knows whether its last run is alive.
--@ begin
local cron, cron_digest = table.remove(KEYS), table.remove(ARGV)
-- Read before anything is moved or claimed: it may fail.
local cron_owner = redis.call('HGET', cron, '@digest')
--@ promoted
local cron_name = added and job:match('^cron:([^:]+):')
if cron_name and redis.call('HGET', cron, cron_name .. ':run') == job then
  redis.call('HSET', cron, cron_name .. ':entry', added)
end
--@ reply
local cron_seen = tonumber(redis.call('HGET', cron, '@seen') or nil) or 0
if cron_owner == cron_digest then
  -- Refused by a full server, it comes with a later round.
  if now - cron_seen > 10000 then
    redis.pcall('HSET', cron, '@seen', string.format('%.0f', now))
  end
  reply[#reply + 1] = now
elseif not cron_owner
  or now - cron_seen > (cron_owner == '' and 3600000 or 60000) then
  reply[#reply + 1] = -1
else
  reply[#reply + 1] = 0
end
