-- Counts as src/limit/span.rs and src/limit/bucket.rs count them; a test holds the two against each other.
-- A count is a hash of slot -> amount; requests under way are a sorted set of lease -> when it ends.
local DAY = 86400000

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number) return string.format('%.0f', number) end
local function div(a, b) return math.floor(a / b) end

local function month_of(day)
  day = day + 719468
  local era, rest = div(day, 146097), day % 146097
  local year = div(rest - div(rest, 1460) + div(rest, 36524) - div(rest, 146096), 365)
  local day_of_year = rest - (365 * year + div(year, 4) - div(year, 100))
  return (era * 400 + year) * 12 + div(5 * day_of_year + 2, 153) + 2
end

local function first_day_of(month)
  local from_march = month - 2
  local year, month_from_march = div(from_march, 12), from_march % 12
  local era, rest = div(year, 400), year % 400
  return era * 146097 + rest * 365 + div(rest, 4) - div(rest, 100) + div(153 * month_from_march + 2, 5) - 719468
end

-- A slot length of 0 stands for the months of the calendar.
local function slot_at(now, length)
  if length == 0 then return month_of(div(now, DAY)) end
  return div(now, length)
end

local function end_of(slot, length, reach)
  if length == 0 then return first_day_of(slot + 1) * DAY end
  return (slot + reach + 1) * length
end

-- Slots in order, each { slot, amount }.
local function slots_of(key)
  local flat, slots = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do slots[#slots + 1] = { tonumber(flat[i]), tonumber(flat[i + 1]) } end
  table.sort(slots, function(a, b) return a[1] < b[1] end)
  return slots
end
