#!lua flags=allow-oom
-- One budget of several processes. KEYS: the window, its members. See the module `budget` for what it is for.
--
-- The window has an entry for each request: `<process>-<number>`, by when it may have been sent at the earliest, in
-- milliseconds of this server's clock. `epoch` in both keys is a number that shows that neither was lost.
local window, members = KEYS[1], KEYS[2]
local process, epoch, forget, fresh = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local sent, timeout, is_young = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local replicas, rate, most_at_once, keep = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local want, first, pause, is_goodbye = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[15] == '1'
local since, report, expiry = tonumber(ARGV[16]), ARGV[17], tonumber(ARGV[18])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- An epoch ends when a part of what was known is lost, or when a process saw this clock jump.
local current = redis.call('HGET', members, 'epoch')
local mark = redis.call('ZSCORE', window, 'epoch')
if not current or not mark or tonumber(mark) ~= tonumber(current) or current == forget then
  redis.call('DEL', members)
  redis.call('ZADD', window, fresh, 'epoch')
  redis.call('HSET', members, 'epoch', fresh)
  current = fresh
end
if expiry > 0 then
  redis.call('PEXPIRE', window, expiry)
  redis.call('PEXPIRE', members, expiry)
end
-- A call of another epoch, or one that was stuck on the way, changes nothing.
if epoch ~= current or now > sent + timeout then
  return {now, tonumber(current)}
end

redis.call('ZREMRANGEBYSCORE', window, '-inf', now - keep)
for request, age in string.gmatch(report, '([^:,]+):(%d+)') do
  local at = sent - tonumber(age)
  if at > now - keep then
    redis.call('ZADD', window, string.format('%.0f', at), request)
  end
end

local handed = tonumber(redis.call('HGET', members, 'handed') or '0')
local before = redis.call('HGET', members, 'm:' .. process)
local was_old = before and string.sub(before, 1, 1) == 'o'
if is_goodbye then
  redis.call('HDEL', members, 'm:' .. process)
  if was_old then
    redis.call('HSET', members, 'handed', math.min(handed + 1, replicas))
  end
  return {now, tonumber(current)}
end
if was_old then
  is_young = false
elseif handed > 0 and (is_young or not before) then
  redis.call('HSET', members, 'handed', handed - 1)
  is_young = false
end
redis.call('HSET', members, 'm:' .. process, (is_young and 'y' or 'o') .. string.format('%.0f', math.min(now, sent)))

-- The members that are seen. A process counts once it is older than a period, or took the place of one that said goodbye, or
-- if none is older and none vanished: then nobody can have sent anything that is not in the window.
local old, young, has_lost, fields = 0, {}, false, redis.call('HGETALL', members)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'm:' then
    local seen = now - tonumber(string.sub(fields[i + 1], 2))
    if seen > 10 * keep then
      redis.call('HDEL', members, fields[i])
    elseif seen <= 1000 and string.sub(fields[i + 1], 1, 1) == 'o' then
      old = old + 1
    elseif seen <= 1000 then
      young[#young + 1] = i
    elseif string.sub(fields[i + 1], 1, 1) == 'o' then
      has_lost = true
    end
  end
end
if old == 0 and #young >= replicas and not has_lost then
  for _, i in ipairs(young) do
    redis.call('HSET', members, fields[i], 'o' .. string.sub(fields[i + 1], 2))
  end
  old, young, is_young = #young, {}, false
end
local parts = math.max(replicas, old)
local limit = math.min(rate, math.floor(rate * old / parts) + #young * math.floor(rate / (10 * parts)))

local paused = tonumber(redis.call('HGET', members, 'pause') or '0')
if now + pause > paused and pause > 0 then
  paused = now + pause
  redis.call('HSET', members, 'pause', string.format('%.0f', paused))
end

local used = redis.call('ZCARD', window) - 1
local at_once = redis.call('ZCOUNT', window, '(' .. string.format('%.0f', now - 1000), string.format('%.0f', now + 1000))
local granted = math.max(0, math.min(want, limit - used, most_at_once - at_once))
if paused > now then
  granted = 0
end
for i = 1, granted do
  redis.call('ZADD', window, string.format('%.0f', now), process .. '-' .. string.format('%.0f', first + i - 1))
end
used, at_once = used + granted, at_once + granted

-- When the next one may be free; a change of the limit may make it earlier or later.
local free = now
local excess = used - limit
if excess >= 0 then
  local last = redis.call('ZRANGE', window, excess, excess, 'WITHSCORES')
  free = last[1] and last[1] ~= 'epoch' and tonumber(last[2]) + keep or now + 1000
end
if at_once >= most_at_once then
  free = math.max(free, now + 100)
end
free = math.max(free, paused)

local reply = {
  now, tonumber(current), granted, free - now, used, limit, old, #young, parts, math.max(0, paused - now), is_young and 1 or 0,
}
local news = redis.call('ZRANGEBYSCORE', window, '(' .. string.format('%.0f', since), string.format('%.0f', now + 1000), 'WITHSCORES', 'LIMIT', 0, 1000)
for i = 1, #news, 2 do
  if string.sub(news[i], 1, #process) ~= process then
    reply[#reply + 1] = news[i] .. ':' .. string.format('%.0f', math.max(0, now - tonumber(news[i + 1])))
  end
end
return reply
