-- Counts all charges or none.
-- KEYS: the counts. ARGV: the time in ms ('' for the server's), the lease, the lease's length in ms, whether to count at all,
-- and for each key: slot length (-1 for requests under way), reach, bound, amount, ms to keep the key.
-- Answers { 1, slot, used, reset, ... } or { 0, which key, wait in ms or -1 for never }.
local now = clock(ARGV[1])
local lease, lease_length, counts = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local full, longest = nil, 0
local state = {}

for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 5
  local length, reach = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local bound, amount, keep = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5]
  local slot, used, slots = 0, 0, {}
  if length < 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
    used = redis.call('ZCARD', key)
  else
    slots = slots_of(key)
    slot = slot_at(now, length)
    local newest = #slots > 0 and slots[#slots][1] or slot
    local moved = false
    if newest > slot then
      if newest - slot <= math.max(reach, 1) then slot = newest else moved = true end
    end
    local oldest = (moved and newest or slot) - reach
    local kept = {}
    for _, entry in ipairs(slots) do
      if entry[1] < oldest then
        redis.call('HDEL', key, text(entry[1]))
      else
        used = used + entry[2]
        kept[#kept + 1] = entry
      end
    end
    slots = kept
    if moved then
      redis.call('DEL', key)
      redis.call('HSET', key, text(slot), text(used))
      redis.call('PEXPIRE', key, keep)
      slots = { { slot, used } }
    end
  end
  local excess = used + amount - bound
  if excess > 0 then
    local wait
    if amount > bound then
      wait = -1
    else
      local freed = 0
      wait = 1000
      for _, entry in ipairs(slots) do
        freed = freed + entry[2]
        if freed >= excess then
          wait = end_of(entry[1], length, reach) - now
          break
        end
      end
      wait = math.max(wait, 1)
    end
    if full == nil or (longest >= 0 and (wait < 0 or wait > longest)) then full, longest = i, wait end
  end
  local newest = #slots > 0 and slots[#slots][1] or nil
  state[i] = { length, reach, amount, keep, slot, used, newest }
end

if full and counts then return { 0, full, longest } end

local answer = { 1 }
for i, key in ipairs(KEYS) do
  local length, reach, amount, keep, slot, used, newest = unpack(state[i], 1, 7)
  if counts and amount > 0 then
    if length < 0 then
      redis.call('ZADD', key, text(now + lease_length), lease)
    else
      redis.call('HINCRBY', key, text(slot), text(amount))
      newest = slot
    end
    redis.call('PEXPIRE', key, keep)
    used = used + amount
  end
  local reset = newest and length >= 0 and end_of(newest, length, reach) or now
  answer[#answer + 1] = slot
  answer[#answer + 1] = used
  answer[#answer + 1] = reset
end
return answer
