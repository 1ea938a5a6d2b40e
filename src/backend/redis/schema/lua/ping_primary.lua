-- Returns the time. Runs as a script that may write, so that a demoted primary refuses.
return {'OK', now}
