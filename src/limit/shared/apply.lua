-- Applies corrections, releases and renewals of leases, once: a batch that is sent again is known by its number.
-- KEYS: the sender's last number, then the counts. ARGV: the time in ms ('' for the server's), the batch's number, the
-- lease's length in ms, and for each count: slot length (-1 for requests under way), reach, slot or lease, delta (for a lease
-- 0 to release and 1 to renew), ms to keep the key.
local now = clock(ARGV[1])
if redis.call('GET', KEYS[1]) == ARGV[2] then return 0 end

for i = 2, #KEYS do
  local key, at = KEYS[i], 3 + (i - 2) * 5
  local length, reach = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local delta, keep = tonumber(ARGV[at + 4]), ARGV[at + 5]
  if length < 0 then
    if delta == 0 then
      redis.call('ZREM', key, ARGV[at + 3])
    else
      redis.call('ZADD', key, text(now + tonumber(ARGV[3])), ARGV[at + 3])
      redis.call('PEXPIRE', key, keep)
    end
  else
    local slots, slot = slots_of(key), tonumber(ARGV[at + 3])
    local newest = #slots > 0 and slots[#slots][1] or slot
    slot = math.min(slot, newest)
    local amount = redis.call('HGET', key, text(slot))
    if amount then
      redis.call('HSET', key, text(slot), text(math.max(tonumber(amount) + delta, 0)))
      redis.call('PEXPIRE', key, keep)
    elseif delta > 0 and slot >= newest - reach and (#slots > 0 or end_of(slot, length, reach) > now) then
      redis.call('HSET', key, text(slot), text(delta))
      redis.call('PEXPIRE', key, keep)
    end
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', '86400000')
return #KEYS - 1
