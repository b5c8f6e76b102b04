"""A page that anybody can teach: classes of pictures or sounds, learned in the tab by a small network on top of a real one."""
