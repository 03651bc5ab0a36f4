-- What wrk has counted, as one JSON object on the last line. Argument: a file with the one right body; an answer 200 with
-- another one is `wrong`, an answer of any other status is `refused`.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  right = file:read("*a")
  file:close()
  wrong, refused = 0, 0
end

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
  elseif body ~= right then
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local count = { wrong = 0, refused = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(count) do
      count[name] = count[name] + thread:get(name)
    end
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "seconds": %.6f, "wrong": %d, "refused": %d, "connect": %d, "broken": %d, '
      .. '"p50_us": %d, "p99_us": %d, "worst_us": %d}\n',
    summary.requests, summary.duration / 1e6, count.wrong, count.refused, errors.connect, errors.read + errors.write,
    latency:percentile(50), latency:percentile(99), latency.max))
end
