-- Gate: what is parked is left to do as well.
--
-- KEYS  parked
--@ begin
local parked = table.remove(KEYS)
--@ counted
work = work + redis.call('ZCARD', parked)
