-- wrk -s post.lua URL -- BODIES: posts the lines of a file in turn, as JSON
local requests, count, at = {}, 0, 0
function init(args)
  for line in io.lines(args[1]) do
    count = count + 1
    requests[count] = wrk.format("POST", wrk.path, {["Content-Type"] = "application/json"}, line)
  end
end
function request()
  at = at % count + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('JSON {"requests":%d,"seconds":%.4f,"p50_ms":%.3f,"p99_ms":%.3f,"refused":%d,"broken":%d,"timeouts":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.status,
    e.connect + e.read + e.write, e.timeout))
end
