-- Asks for the time as a writer would, so that a primary that was demoted refuses.
return {'OK', now}
