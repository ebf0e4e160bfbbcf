"""The operator's console: one page, made of the files beside this one."""
