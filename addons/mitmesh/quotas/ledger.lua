-- The ledger in Redis: one call of this script is one decision. All keys begin with KEYS[1], which has a hash tag, so
-- that a cluster keeps them together. Amounts are integers below 2^53, which Lua's numbers hold exactly.
--
--   <prefix>c:<key>    hash: u:<slot> used, r:<slot> reserved
--   <prefix>h:<call>   hash: each key's "slot sunk rest charged"
--   <prefix>calls      sorted set: running calls by the end of their lease
--   <prefix>lapsed     sorted set: calls whose lease has ended, by when
--   <prefix>g:<limit>  hash: grants as JSON, by id
--   <prefix>d:<answer> what was charged for an answer that is made later, as JSON
--   <prefix>gone       sorted set: keys of counts by when they may be forgotten (the names, for `counts`)
local prefix, op = KEYS[1], ARGV[1]
local asked = cjson.decode(ARGV[2])
local now = asked.now
if now == cjson.null or now == nil then now = tonumber(redis.call('TIME')[1]) end
local FORGET = 86400
local NEVER = 9007199254740992

local function whole(number) return string.format('%.0f', number) end

local function book(key, slot, used, reserved)
  local name = prefix .. 'c:' .. key
  if used ~= 0 then redis.call('HINCRBY', name, 'u:' .. slot, whole(used)) end
  if reserved ~= 0 then redis.call('HINCRBY', name, 'r:' .. slot, whole(reserved)) end
end

-- A count lasts as long as its last slot: a late word about an old one must not end it sooner.
local function last_until(name, expires)
  local left = redis.call('TTL', name)
  if expires < NEVER and (left < 0 or tonumber(redis.call('TIME')[1]) + left < expires) then
    redis.call('EXPIREAT', name, whole(expires))
  end
end

local function holds(call)
  local flat, found = redis.call('HGETALL', prefix .. 'h:' .. call), {}
  for i = 1, #flat, 2 do
    local slot, sunk, rest, charged = string.match(flat[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
    found[flat[i]] = {slot = slot, sunk = tonumber(sunk), rest = tonumber(rest), charged = tonumber(charged)}
  end
  return found
end

local function keep(call, key, hold)
  local text = hold.slot .. ' ' .. whole(hold.sunk) .. ' ' .. whole(hold.rest) .. ' ' .. whole(hold.charged)
  redis.call('HSET', prefix .. 'h:' .. call, key, text)
end

local function reap()
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'calls', '-inf', '(' .. now, 'LIMIT', 0, 100)) do
    for key, hold in pairs(holds(call)) do
      book(key, hold.slot, hold.sunk, -(hold.sunk + hold.rest))
      keep(call, key, {slot = hold.slot, sunk = 0, rest = 0, charged = hold.charged + hold.sunk})
    end
    redis.call('ZREM', prefix .. 'calls', call)
    redis.call('ZADD', prefix .. 'lapsed', now, call)
    redis.call('EXPIRE', prefix .. 'h:' .. call, FORGET)
  end
end

local function granted(want)
  local sum = 0
  for _, text in ipairs(redis.call('HVALS', prefix .. 'g:' .. want.limit)) do
    local grant = cjson.decode(text)
    local fits = (grant.unit or '') == '' or grant.unit == want.unit
    if fits and grant.expires > now and (grant.subject == '*' or grant.subject == want.subject) then
      sum = sum + grant.amount
    end
  end
  return sum
end

-- Which slot of a rolling window has to leave it until so much has, or the last there is; -1 where there is none.
local function leaves(amounts, beyond)
  local slots, last = {}, -1
  for slot, amount in pairs(amounts) do
    if amount > 0 then slots[#slots + 1] = slot end
  end
  table.sort(slots)
  for _, slot in ipairs(slots) do
    last, beyond = slot, beyond - amounts[slot]
    if beyond <= 0 then break end
  end
  return last
end

local function standing(want)
  local used, reserved, amounts = 0, 0, {}
  local name = prefix .. 'c:' .. want.key
  if want.first == want.last then
    used = tonumber(redis.call('HGET', name, 'u:' .. whole(want.slot)) or 0)
    reserved = tonumber(redis.call('HGET', name, 'r:' .. whole(want.slot)) or 0)
  else
    local flat = redis.call('HGETALL', name)
    for i = 1, #flat, 2 do
      local kind, slot = string.match(flat[i], '^(.):(.*)$')
      slot = tonumber(slot)
      if slot >= want.first and slot <= want.last then
        local amount = tonumber(flat[i + 1])
        if kind == 'u' then used = used + amount else reserved = reserved + amount end
        amounts[slot] = (amounts[slot] or 0) + amount
      elseif slot < want.first - FORGET then
        redis.call('HDEL', name, flat[i])
      end
    end
  end
  local more = granted(want)
  local beyond = used + reserved + want.sunk + want.rest - want.most - more
  local over = beyond > 0 and want.sunk + want.rest > 0
  return {used, reserved, more, over and 1 or 0, over and leaves(amounts, beyond) or -1}
end

local ops = {}

function ops.reserve()
  reap()
  local found, full = {}, false
  for i, want in ipairs(asked.wants) do
    found[i] = standing(want)
    full = full or (found[i][4] == 1 and want.binding)
  end
  if full then return found end
  local before = holds(asked.call)
  for _, want in ipairs(asked.wants) do
    local slot = whole(want.slot)
    local hold = before[want.key] or {slot = slot, sunk = 0, rest = 0, charged = 0}
    hold.sunk, hold.rest = hold.sunk + want.sunk, hold.rest + want.rest
    keep(asked.call, want.key, hold)
    local name = prefix .. 'c:' .. want.key
    redis.call('HINCRBY', name, 'r:' .. slot, whole(want.sunk + want.rest))
    last_until(name, want.expires)
    redis.call('ZADD', prefix .. 'gone', 'GT', whole(want.expires), want.key)
  end
  redis.call('PERSIST', prefix .. 'h:' .. asked.call)
  redis.call('ZREM', prefix .. 'lapsed', asked.call)
  redis.call('ZADD', prefix .. 'calls', now + asked.lease, asked.call)
  return found
end

function ops.settle()
  for key, hold in pairs(holds(asked.call)) do
    book(key, hold.slot, (asked.spent[key] or 0) - hold.charged, -(hold.sunk + hold.rest))
  end
  redis.call('DEL', prefix .. 'h:' .. asked.call)
  redis.call('ZREM', prefix .. 'calls', asked.call)
  redis.call('ZREM', prefix .. 'lapsed', asked.call)
end

function ops.defer()
  redis.call('SET', prefix .. 'd:' .. asked.answer, asked.told, 'EX', asked.seconds)
end

function ops.due()
  return redis.call('GETDEL', prefix .. 'd:' .. asked.answer)
end

function ops.beat()
  local lapsed = {}
  for _, call in ipairs(asked.calls) do
    if redis.call('ZSCORE', prefix .. 'calls', call) then
      redis.call('ZADD', prefix .. 'calls', 'XX', now + asked.lease, call)
    else
      lapsed[#lapsed + 1] = call
    end
  end
  reap()
  redis.call('ZREMRANGEBYSCORE', prefix .. 'gone', '-inf', '(' .. now)
  redis.call('ZREMRANGEBYSCORE', prefix .. 'lapsed', '-inf', '(' .. (now - FORGET))
  return lapsed
end

function ops.counts()
  reap()
  local found = {}
  for _, key in ipairs(redis.call('ZRANGE', prefix .. 'gone', 0, 9999)) do
    found[#found + 1] = {key, redis.call('HGETALL', prefix .. 'c:' .. key)}
  end
  return found
end

function ops.grants()
  local found = {}
  for _, limit in ipairs(redis.call('SMEMBERS', prefix .. 'granted')) do
    local name = prefix .. 'g:' .. limit
    local flat = redis.call('HGETALL', name)
    for i = 1, #flat, 2 do
      if cjson.decode(flat[i + 1]).expires > now then
        found[#found + 1] = flat[i + 1]
      else
        redis.call('HDEL', name, flat[i])
      end
    end
  end
  return found
end

function ops.grant()
  redis.call('SADD', prefix .. 'granted', asked.limit)
  redis.call('HSET', prefix .. 'g:' .. asked.limit, asked.id, asked.text) -- cjson would round large amounts
end

function ops.revoke()
  local gone = 0
  for _, limit in ipairs(redis.call('SMEMBERS', prefix .. 'granted')) do
    gone = gone + redis.call('HDEL', prefix .. 'g:' .. limit, asked.grant)
  end
  return gone
end

return ops[op]()
