-- Control: whether running jobs are cancelled; while the queue is paused nothing is taken.
--
-- KEYS  control
-- Returns the revision of the marks, or 0 without any.
--@ begin
local control = table.remove(KEYS)
-- What is claimed, or was orphaned by a lost answer, would start. It waits for the end of
-- the pause as all others do.
if redis.call('HGET', control, '@paused') then ARGV[5], ARGV[7] = '0', '0' end
--@ reply
local control_marks = redis.call('HGET', control, '@cancels')
reply[#reply + 1] = control_marks and tonumber(control_marks:match('^%d+')) or 0
